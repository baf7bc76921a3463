//! Named formats, for files without a template or with one that does not work.

/// A format that several models share.
#[derive(Debug)]
pub struct Family {
    /// Its name, such as `chatml`.
    pub name: &'static str,
    /// Its template.
    pub template: &'static str,
}

macro_rules! families {
    ($($name:literal)*) => {
        /// All formats with a name.
        pub static FAMILIES: &[Family] = &[
            $(Family { name: $name, template: include_str!(concat!("templates/", $name, ".jinja")) },)*
        ];
    };
}

families! {
    "chatml"
    "command-r"
    "deepseek"
    "deepseek-2"
    "deepseek-3"
    "falcon-3"
    "gemma"
    "glm-4"
    "gpt-oss"
    "granite"
    "llama-2"
    "llama-3"
    "llama-4"
    "mistral-v1"
    "mistral-v3"
    "mistral-v3-tekken"
    "mistral-v7"
    "mistral-v7-tekken"
    "phi-3"
    "phi-4"
    "qwen-3"
    "vicuna"
    "zephyr"
}

/// The format with this name.
pub fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}
