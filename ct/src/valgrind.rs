//! Valgrind's client requests, without a dependency. Without valgrind they do nothing.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the client requests are written for x86-64 only");

/// `VALGRIND_DO_CLIENT_REQUEST`: instructions that do nothing but are known to valgrind.
fn request(default: usize, arguments: &[usize; 6]) -> usize {
    let mut result = default;
    // SAFETY: four rotations that add up to none, and an exchange of a register with itself. Under valgrind the request
    // reads `arguments` and, for `GET_VBITS`, writes where its caller says.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            inout("rdx") result, in("rax") arguments.as_ptr(), inout("rdi") 0usize => _, options(nostack)
        );
    }
    result
}

const RUNNING_ON_VALGRIND: usize = 0x1001;
const MEMCHECK: usize = ((b'M' as usize) << 24) | ((b'C' as usize) << 16);
const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;
const GET_VBITS: usize = MEMCHECK + 8;

/// Whether this program runs under valgrind.
pub fn is_running() -> bool {
    request(0, &[RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0]) != 0
}

/// Marks memory as secret. Exclusive, so that no copy in a register goes on unmarked.
pub fn secret<T: ?Sized>(value: &mut T) {
    let len = size_of_val(value);
    secret_at(core::ptr::from_mut(value).cast(), len);
}

/// Marks memory as public again.
pub fn public<T: ?Sized>(value: &mut T) {
    let len = size_of_val(value);
    public_at(core::ptr::from_mut(value).cast(), len);
}

pub fn secret_at(start: *mut u8, len: usize) {
    request(0, &[MAKE_MEM_UNDEFINED, start.expose_provenance(), len, 0, 0, 0]);
}

pub fn public_at(start: *mut u8, len: usize) {
    request(0, &[MAKE_MEM_DEFINED, start.expose_provenance(), len, 0, 0, 0]);
}

/// For each byte, whether any of its bits is secret. All `false` without valgrind.
pub fn mask<T: ?Sized>(value: &T) -> Vec<bool> {
    let mut bits = vec![0_u8; size_of_val(value)];
    let start = core::ptr::from_ref(value).cast::<u8>().expose_provenance();
    request(0, &[GET_VBITS, start, bits.as_mut_ptr().expose_provenance(), bits.len(), 0, 0]);
    bits.into_iter().map(|bits| bits != 0).collect()
}

/// How many bytes are secret.
pub fn secret_bytes(bytes: &[u8]) -> usize {
    mask(bytes).into_iter().filter(|secret| *secret).count()
}
