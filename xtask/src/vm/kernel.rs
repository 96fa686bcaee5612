//! The kernel that is booted: its image, and what of its modules is needed.

use super::{run_tool, tool};
use std::fs;
use std::path::{Path, PathBuf};

/// What the first program needs to reach this machine's files and the disk, and what tests want.
const MODULES: [&str; 9] =
    ["virtio_pci", "virtio_blk", "virtio_console", "9pnet_virtio", "9p", "ext4", "overlay", "zram", "loop"];

/// A kernel that can be booted.
pub(super) struct Kernel {
    /// Beneath which `lib/modules` is.
    root: PathBuf,
    pub(super) image: PathBuf,
    version: String,
}

impl Kernel {
    /// The newest one in `root`.
    pub(super) fn beneath(root: &Path) -> Result<Self, String> {
        let boot = root.join("boot");
        let newest = fs::read_dir(&boot)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
            .max_by_key(|version| numbers(version));
        let version = newest.ok_or_else(|| {
            format!(
                "there is no {}/vmlinuz-VERSION: install a kernel (Debian's linux-image-amd64), or unpack one \
                 (apt-get download linux-image-VERSION-amd64 && dpkg-deb -x linux-image-*.deb DIR) and say \
                 --kernel DIR",
                boot.display()
            )
        })?;
        let kernel = Self { root: root.to_owned(), image: boot.join(format!("vmlinuz-{version}")), version };
        let modules = root.join("lib/modules").join(&kernel.version);
        if !modules.is_dir() {
            return Err(format!("the modules of that kernel are missing: {}", modules.display()));
        }
        // Made when a package is installed, not when it is unpacked.
        if !modules.join("modules.dep").exists() {
            run_tool(tool("depmod").arg("-b").arg(root).arg(&kernel.version))?;
        }
        Ok(kernel)
    }

    /// The files of the modules to load, each after those that it needs, as they are read by the kernel.
    pub(super) fn modules(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut modules: Vec<(String, Vec<u8>)> = Vec::new();
        for name in MODULES {
            let lines = run_tool(tool("modprobe").arg("-d").arg(&self.root).args([
                "-S",
                &self.version,
                "--show-depends",
                name,
            ]))?;
            for line in String::from_utf8_lossy(&lines).lines() {
                // Everything else is part of the kernel's image.
                let Some(path) = line.strip_prefix("insmod ") else { continue };
                let path = Path::new(path.trim_end());
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let name = format!("{}.ko", name.trim_end_matches(".ko"));
                if !modules.iter().any(|(known, _)| *known == name) {
                    modules.push((name, unpacked(path)?));
                }
            }
        }
        Ok(modules)
    }
}

/// A module's bytes, which packages have compressed in several ways.
fn unpacked(path: &Path) -> Result<Vec<u8>, String> {
    let program = match path.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
    };
    run_tool(tool(program).arg("-dc").arg(path))
}

/// A version's numbers, so that 6.12 comes after 6.9.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_found_and_its_modules_are_asked_for() {
        let root = std::env::temp_dir().join(format!("outcore-vm-kernels-{}", std::process::id()));
        fs::create_dir_all(root.join("boot")).unwrap();
        let why = |root: &Path| Kernel::beneath(root).err().unwrap_or_default();
        assert!(why(&root).contains("--kernel DIR"), "{}", why(&root));
        for version in ["6.9.7-amd64", "6.12.95+deb12-amd64", "6.1.0-13-amd64"] {
            fs::write(root.join("boot").join(format!("vmlinuz-{version}")), "").unwrap();
        }
        assert!(why(&root).ends_with("lib/modules/6.12.95+deb12-amd64"), "{}", why(&root));
        fs::remove_dir_all(root).unwrap();
    }
}
