//! The names of events, for the tests of the words about them.

/// Every name of an event that the code writes, as it stands in the sources.
pub(crate) fn names_in_the_code() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../server");
    let mut folders: Vec<_> = std::fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .chain([root.join("src")])
        .filter(|folder| folder.is_dir())
        .collect();
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if !code.contains("Event") {
                continue;
            }
            // Names are made of two words with a dot between; so are some hosts and keys of other things.
            names.extend(code.split('"').filter(|text| is_name(text)).map(str::to_owned));
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let Some((thing, verb)) = text.split_once('.') else { return false };
    word(thing)
        && word(verb)
        && thing != "gatehouse"
        && !["com", "test", "example", "query", "json"].contains(&verb)
}
