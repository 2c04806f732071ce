mod bounds;
mod conflicts;
mod differential;
mod history;
mod properties;
mod reference;
