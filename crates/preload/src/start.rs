#![expect(unsafe_code, reason = "a constructor, and raw output")]
//! Before `main`.

use crate::{errno, fork, malloc, source, statics};
use core::sync::atomic::{AtomicPtr, Ordering};
use engine::{Engine, Settings};

static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(core::ptr::null_mut());

/// This process's engine; none before the constructor ran, and without a budget.
pub(crate) fn engine() -> Option<&'static Engine> {
    // SAFETY: null, or an engine that is never freed.
    unsafe { ENGINE.load(Ordering::Acquire).as_ref() }
}

pub(crate) fn set_engine(engine: &'static Engine) {
    ENGINE.store(core::ptr::from_ref(engine).cast_mut(), Ordering::Release);
}

/// There is none until [`set_engine`].
pub(crate) fn forget_engine() {
    ENGINE.store(core::ptr::null_mut(), Ordering::Release);
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

extern "C" fn construct() {
    // The program begins with 0 in it.
    let _errno = errno::Kept::now();
    malloc::init();
    match Settings::from_env() {
        Ok(None) => return,
        Ok(Some(settings)) => {
            engine::know_unused(malloc::is_unused);
            match malloc::resident_while(|| Engine::start(settings, malloc::this_is_the_pager_thread)) {
                Ok(engine) => {
                    set_engine(engine);
                    source::engine_started(engine);
                    statics::announce(engine);
                }
                Err(reason) => complain(&reason),
            }
        }
        Err(reason) => complain(&reason),
    }
    fork::init();
}

/// Nothing is running yet that could mind a line on stderr.
pub(crate) fn complain(reason: &str) {
    let line = format!("outcore: {reason}\n");
    // SAFETY: a write of our own bytes.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}
