//! Names that could pass for a built-in role wherever only the name is told: in a letter, a list, a sentence of the log.

use model::Role;

/// The form of a name in which two that look alike are the same: small, without marks, punctuation and spaces, each letter
/// and digit as the Latin one that it resembles. Only the letters of the five names have to be exact.
fn skeleton(name: &str) -> String {
    let folded: String = name.chars().flat_map(char::to_lowercase).filter_map(folded).collect();
    // Two letters that look like one.
    folded.replace("rn", "m").replace("vv", "w")
}

const fn folded(c: char) -> Option<char> {
    Some(match c {
        // Letters in full width.
        '\u{FF41}'..='\u{FF5A}' => match char::from_u32(c as u32 - 0xFF41 + 'a' as u32) {
            Some('l') => 'i',
            Some(plain) => plain,
            None => return None,
        },
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'ā' | 'ą' | 'ă' | 'ǎ' | 'ạ' | 'а' | 'α' | 'ɑ' => {
            'a'
        }
        'ƅ' | 'ь' | 'ḃ' | 'ḅ' => 'b',
        'ď' | 'đ' | 'ԁ' | 'ḍ' | 'ḋ' => 'd',
        'é' | 'è' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' | 'ẹ' | 'ẽ' | 'е' | 'ё' | 'ε' | '3' => {
            'e'
        }
        'í' | 'ì' | 'î' | 'ï' | 'ĩ' | 'ī' | 'į' | 'ı' | 'ị' | 'і' | 'ї' | 'ι' | 'ĺ' | 'ľ' | 'ł' | 'ļ'
        | 'ӏ' | 'l' | '1' | '|' | '!' => 'i',
        'м' | 'ṁ' | 'ṃ' => 'm',
        'ñ' | 'ń' | 'ň' | 'ņ' | 'ṇ' | 'ṅ' | 'п' | 'η' | 'ո' => 'n',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' | 'ō' | 'ő' | 'ŏ' | 'ọ' | 'о' | 'ο' | 'σ' | 'օ' | '0' => {
            'o'
        }
        'р' | 'ρ' => 'p',
        'ŕ' | 'ř' | 'ŗ' | 'ṛ' | 'г' => 'r',
        'ѕ' | 'ś' | 'š' | 'ş' | '5' => 's',
        'ѵ' | 'ν' | 'ṽ' | 'ṿ' => 'v',
        'ŵ' | 'ẁ' | 'ẃ' | 'ẅ' | 'ẇ' | 'ẉ' | 'ѡ' | 'ω' | 'ԝ' => 'w',
        // Marks that stand above or below the letter before.
        '\u{0300}'..='\u{036F}' => return None,
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => return None,
        c => c,
    })
}

/// The built-in role that a name looks like, also in the plural.
pub(super) fn resembles(name: &str) -> Option<Role> {
    let wanted = skeleton(name);
    Role::ALL.iter().copied().find(|role| {
        let built_in = skeleton(role.as_str());
        wanted == built_in || wanted.strip_suffix('s') == Some(built_in.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_04_no_name_passes_for_a_built_in_one() {
        for (name, role) in [
            ("owner", Role::Owner),
            ("OWNERS", Role::Owner),
            ("0wner", Role::Owner),
            ("Оwner", Role::Owner),
            ("ówner", Role::Owner),
            ("o w n e r", Role::Owner),
            ("ovvner", Role::Owner),
            ("\u{FF4F}wner", Role::Owner),
            ("o\u{0308}wner", Role::Owner),
            ("(Admin)", Role::Admin),
            ("adm1n", Role::Admin),
            ("adrnin", Role::Admin),
            ("аdmіn", Role::Admin),
            ("deveIoper", Role::Developer),
            ("deve1oper", Role::Developer),
            ("Member.", Role::Member),
            ("Viewers", Role::Viewer),
        ] {
            assert_eq!(resembles(name), Some(role), "{name}");
        }
        for name in ["Key keeper", "Owner of keys", "Administration", "Résumé", "開発者", "Release manager"]
        {
            assert_eq!(resembles(name), None, "{name}");
        }
    }
}
