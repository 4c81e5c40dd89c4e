//! With the feature `embed-site`: puts `target/site` into the binary, as a table that `src/site.rs` includes.
//!
//! The folder can be named with `GATEHOUSE_SITE_DIR` at build time. Without the feature only its path is passed on,
//! and the files are read when they are asked for.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=GATEHOUSE_SITE_DIR");
    let site = std::env::var_os("GATEHOUSE_SITE_DIR").map_or_else(
        || PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../target/site"),
        PathBuf::from,
    );

    if std::env::var_os("CARGO_FEATURE_EMBED_SITE").is_some() {
        println!("cargo::rerun-if-changed={}", site.display());
        let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join("site.rs");
        match table(&site) {
            Ok(table) => fs::write(out, table).unwrap(),
            Err(error) => {
                println!("cargo::error=cannot read {}: {error}. Build it first: make site", site.display());
            }
        }
    } else {
        println!("cargo::rustc-env=GATEHOUSE_SITE_DIR={}", site.display());
    }
}

/// `HASH`, over the names and bytes of all files, and `FILES`, sorted by path.
fn table(site: &Path) -> std::io::Result<String> {
    let site = site.canonicalize()?;
    let mut files = BTreeMap::new();
    collect(&site, "", &mut files)?;

    // The hash only tells one build from another; `new()` has fixed keys, so the same site gives the same one.
    let mut hasher = DefaultHasher::new();
    let mut rows = String::new();
    for (path, file) in &files {
        if Path::new(path).extension().is_some_and(|end| end == "br" || end == "gz") {
            continue;
        }
        path.hash(&mut hasher);
        fs::read(file)?.hash(&mut hasher);

        let packed = |end: &str| {
            files
                .get(&format!("{path}.{end}"))
                .map_or("None".to_owned(), |file| format!("Some(include_bytes!({file:?}))"))
        };
        let (br, gz) = (packed("br"), packed("gz"));
        writeln!(rows, "    File {{ path: {path:?}, raw: include_bytes!({file:?}), br: {br}, gz: {gz} }},")
            .unwrap();
    }
    let hash = hasher.finish();
    Ok(format!("pub(super) const HASH: &str = \"{hash:016x}\";\nstatic FILES: &[File] = &[\n{rows}];\n"))
}

/// Every file below `folder`: its path in the site, and on disk.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().expect("names in the site are UTF-8");
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else {
            let file = entry.path().into_os_string().into_string().expect("the site's folder is UTF-8");
            files.insert(format!("{prefix}{name}"), file);
        }
    }
    Ok(())
}
