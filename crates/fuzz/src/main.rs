//! libFuzzer around the targets. Which of them it runs says `VK_FUZZ_TARGET`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vk_fuzz::Target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn chosen() -> &'static Target {
    let name = std::env::var("VK_FUZZ_TARGET").unwrap_or_default();
    let target = vk_fuzz::find(&name);
    target.expect("VK_FUZZ_TARGET names one of the fuzz targets")
}

fuzz_target!(init: TARGET.get_or_init(chosen), |bytes: &[u8]| (TARGET.get_or_init(chosen).run)(bytes));
