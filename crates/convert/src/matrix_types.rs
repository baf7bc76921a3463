//! [`MatrixTypes`]: the type of each matrix in a file, either one for all or one of the mixtures of llama.cpp's quantiser.
//!
//! The mixtures use more bits for the matrices and layers that need them. If the rows of a matrix are not a whole number of a
//! type's blocks, a type with shorter blocks is used instead ([`Fallbacks`]). The rules are those of `src/llama-quant.cpp` of
//! llama.cpp (October 2026), and are tested against its choices.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use llm::quant::{GgmlType, can_quantize};

use super::file_type;

/// The types of the matrices in a file, by the names that people use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixTypes {
    /// One type for all matrices.
    All(GgmlType),
    /// A mixture.
    Mixture(Mixture),
}

/// A mixture of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixture {
    /// `Q2_K`.
    Q2K,
    /// `Q2_K_S`, which requires an importance matrix.
    Q2KSmall,
    /// `Q3_K_S`.
    Q3KSmall,
    /// `Q3_K_M`.
    Q3KMedium,
    /// `Q3_K_L`.
    Q3KLarge,
    /// `Q4_K_S`.
    Q4KSmall,
    /// `Q4_K_M`.
    Q4KMedium,
    /// `Q5_K_S`.
    Q5KSmall,
    /// `Q5_K_M`.
    Q5KMedium,
    /// `Q6_K`.
    Q6K,
    /// `IQ4_NL`.
    Iq4Nl,
    /// `IQ4_XS`.
    Iq4Xs,
    /// `MXFP4_MOE`.
    Mxfp4Moe,
}

/// Name, type of most matrices and `general.file_type` (`enum llama_ftype`) of each.
const MIXTURES: [(&str, Mixture, GgmlType, u32); 13] = [
    ("Q2_K", Mixture::Q2K, GgmlType::Q2_K, 10),
    ("Q2_K_S", Mixture::Q2KSmall, GgmlType::Q2_K, 21),
    ("Q3_K_S", Mixture::Q3KSmall, GgmlType::Q3_K, 11),
    ("Q3_K_M", Mixture::Q3KMedium, GgmlType::Q3_K, 12),
    ("Q3_K_L", Mixture::Q3KLarge, GgmlType::Q3_K, 13),
    ("Q4_K_S", Mixture::Q4KSmall, GgmlType::Q4_K, 14),
    ("Q4_K_M", Mixture::Q4KMedium, GgmlType::Q4_K, 15),
    ("Q5_K_S", Mixture::Q5KSmall, GgmlType::Q5_K, 16),
    ("Q5_K_M", Mixture::Q5KMedium, GgmlType::Q5_K, 17),
    ("Q6_K", Mixture::Q6K, GgmlType::Q6_K, 18),
    ("IQ4_NL", Mixture::Iq4Nl, GgmlType::IQ4_NL, 25),
    ("IQ4_XS", Mixture::Iq4Xs, GgmlType::IQ4_XS, 30),
    ("MXFP4_MOE", Mixture::Mxfp4Moe, GgmlType::MXFP4, 38),
];

/// Names that llama.cpp accepts as abbreviations.
const SHORT: [(&str, Mixture); 3] =
    [("Q3_K", Mixture::Q3KMedium), ("Q4_K", Mixture::Q4KMedium), ("Q5_K", Mixture::Q5KMedium)];

impl Mixture {
    fn row(self) -> &'static (&'static str, Mixture, GgmlType, u32) {
        // The table is in the order of the enum.
        &MIXTURES[self as usize]
    }

    /// The type of most matrices.
    fn base(self) -> GgmlType {
        self.row().2
    }
}

impl MatrixTypes {
    /// The mixture, or the type that can be written, with this name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        let mixtures = MIXTURES.iter().map(|row| (row.0, row.1)).chain(SHORT);
        let mixture = { mixtures }.find(|(mixture, _)| mixture.eq_ignore_ascii_case(name));
        let mixture = mixture.map(|(_, mixture)| Self::Mixture(mixture));
        mixture.or_else(|| GgmlType::from_name(name).filter(|&ty| can_quantize(ty)).map(Self::All))
    }

    /// All names, for use in messages.
    pub fn names() -> String {
        let types = (0..u8::MAX).filter_map(|id| GgmlType::from_id(id.into()));
        let types = types.filter(|&ty| can_quantize(ty)).map(GgmlType::name);
        let mixtures = MIXTURES.iter().map(|row| row.0).chain(SHORT.map(|(name, _)| name));
        let types = types.filter(|ty| !mixtures.clone().any(|mixture| mixture == *ty));
        types.chain(mixtures.clone()).collect::<Vec<_>>().join(", ")
    }

    /// `general.file_type` (`enum llama_ftype`).
    pub fn file_type(self) -> u32 {
        match self {
            Self::All(ty) => file_type(ty),
            Self::Mixture(mixture) => mixture.row().3,
        }
    }

    /// Whether a matrix with this type requires an importance matrix, as in llama.cpp.
    pub fn needs_importance(self, name: &str, ty: GgmlType) -> bool {
        let is_end = matches!(Kind::of(name), Kind::Output | Kind::Embedding);
        self == Self::Mixture(Mixture::Q2KSmall) && ty == GgmlType::Q2_K && !is_end
    }
}

/// The properties of a model that the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct ModelShape<'m> {
    /// `general.architecture`
    pub architecture: &'m str,
    /// `block_count`.
    pub n_layer: u32,
    /// `attention.head_count`, of the first layer.
    pub n_head: u32,
    /// `attention.head_count_kv`, of the first layer.
    pub n_head_kv: u32,
    /// `expert_count`; 0 if there are no experts.
    pub n_expert: u32,
}

impl ModelShape<'_> {
    /// How many query heads share keys and values; 0 if there are none.
    fn n_sharing(&self) -> u32 {
        self.n_head.checked_div(self.n_head_kv).unwrap_or(0)
    }

    /// Whether llama.cpp takes this model for one with 70 billion weights in which eight heads share values.
    fn is_70b(&self) -> bool {
        match self.architecture {
            "llama" => self.n_layer == 80 && self.n_head != self.n_head_kv,
            "qwen2" | "deci" | "olmo" => self.n_layer == 80,
            "jais2" => self.n_layer == 68,
            _ => false,
        }
    }
}

/// Chooses the type of each matrix of one model.
#[derive(Debug)]
pub struct TypeChooser<'m> {
    types: MatrixTypes,
    shape: ModelShape<'m>,
    has_importance: bool,
    /// Whether the embedding is also the output matrix.
    is_tied: bool,
    n_values: usize,
    /// For each matrix, its number among those of its kind; llama.cpp counts layers in this way.
    numbers: HashMap<String, usize>,
    fallbacks: Fallbacks,
}

/// The kinds of matrices that mixtures distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Output,
    Embedding,
    /// Values, alone or in one matrix with queries and keys.
    Values,
    Keys,
    AttentionOutput,
    FeedForwardDown,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        match name {
            "output.weight" => Kind::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Kind::Embedding,
            _ if has("attn_qkv.weight") || has("attn_kv_b.weight") || has("attn_v.weight") => Kind::Values,
            _ if has("attn_k.weight") => Kind::Keys,
            _ if has("attn_output.weight") => Kind::AttentionOutput,
            _ if has("ffn_down") => Kind::FeedForwardDown,
            _ => Kind::Other,
        }
    }
}

impl<'m> TypeChooser<'m> {
    /// For a model with these matrices, in any order.
    pub fn new<'n>(
        types: MatrixTypes,
        shape: ModelShape<'m>,
        matrices: impl Iterator<Item = &'n str>,
    ) -> Self {
        let mut by_kind: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
        for name in matrices {
            by_kind.entry(Kind::of(name)).or_default().push(name);
        }
        let mut numbers = HashMap::new();
        for kind in [Kind::Values, Kind::FeedForwardDown] {
            let names = by_kind.entry(kind).or_default();
            names.sort_by_key(|name| (layer(name), *name));
            numbers.extend(names.iter().enumerate().map(|(number, &name)| (name.to_owned(), number)));
        }
        Self {
            types,
            shape,
            has_importance: false,
            is_tied: !by_kind.contains_key(&Kind::Output),
            n_values: by_kind[&Kind::Values].len(),
            numbers,
            fallbacks: Fallbacks::default(),
        }
    }

    /// For weights that are rounded with an importance matrix, which makes some exceptions unnecessary.
    pub fn with_importance(self) -> Self {
        Self { has_importance: true, ..self }
    }

    /// The type of a tensor of `n_matrices` matrices with rows of `n_cols` weights. More than one matrix means experts.
    pub fn choose(&mut self, name: &str, n_cols: usize, n_matrices: usize) -> GgmlType {
        let wanted = match self.types {
            MatrixTypes::All(ty) => ty,
            MatrixTypes::Mixture(mixture) => self.of_mixture(mixture, name, n_matrices),
        };
        let ty =
            if n_cols.is_multiple_of(wanted.block_len()) { wanted } else { shorter_blocks(wanted, n_cols) };
        if ty != wanted {
            self.fallbacks.count(wanted, ty);
        }
        ty
    }

    /// The types that were used instead of types whose blocks did not fit, so far.
    pub fn fallbacks(self) -> Fallbacks {
        self.fallbacks
    }

    fn of_mixture(&self, mixture: Mixture, name: &str, n_matrices: usize) -> GgmlType {
        use Mixture::*;
        let base = mixture.base();
        let kind = match Kind::of(name) {
            Kind::Embedding if self.is_tied => Kind::Output,
            kind => kind,
        };
        let is_falcon = self.shape.architecture == "falcon";
        let has_eight_experts = self.shape.n_expert == 8;
        match kind {
            Kind::Output if is_falcon || mixture == Mxfp4Moe => GgmlType::Q8_0,
            Kind::Output => GgmlType::Q6_K,
            _ if mixture == Mxfp4Moe => {
                // In Ling 3, the projections of latent attention are stacks of matrices too.
                let are_experts = self.shape.architecture != "bailingmoe3" || name.contains("ffn_");
                if n_matrices > 1 && are_experts { GgmlType::MXFP4 } else { GgmlType::Q8_0 }
            }
            Kind::Values | Kind::Keys if has_eight_experts => GgmlType::Q8_0,
            Kind::Values => self.of_values(mixture, self.numbers.get(name).copied().unwrap_or(0)),
            Kind::AttentionOutput => match mixture {
                Q3KLarge if is_falcon => GgmlType::Q4_K,
                _ if is_falcon => base,
                Q2KSmall | Q3KLarge | Q5KSmall | Q5KMedium | Q6K if has_eight_experts => base,
                _ if has_eight_experts => GgmlType::Q5_K,
                Q2K => GgmlType::Q3_K,
                Q3KMedium => GgmlType::Q4_K,
                Q3KLarge => GgmlType::Q5_K,
                _ => base,
            },
            Kind::FeedForwardDown => {
                let number = self.numbers.get(name).copied().unwrap_or(0);
                self.of_down(mixture, if self.shape.n_expert > 1 { layer(name).unwrap_or(0) } else { number })
            }
            _ => base,
        }
    }

    /// The type of value matrix number `number`.
    fn of_values(&self, mixture: Mixture, number: usize) -> GgmlType {
        use Mixture::*;
        let are_shared = self.shape.n_sharing() >= 4;
        let ty = match mixture {
            Q2K | Q2KSmall if are_shared => GgmlType::Q4_K,
            Q2K => GgmlType::Q3_K,
            Q3KMedium if number < 2 => GgmlType::Q5_K,
            Q3KMedium => GgmlType::Q4_K,
            Q3KLarge => GgmlType::Q5_K,
            Iq4Nl | Iq4Xs if are_shared => GgmlType::Q5_K,
            Q4KMedium | Q5KMedium if needs_more_bits(number, self.n_values) => GgmlType::Q6_K,
            Q4KSmall if number < 4 => GgmlType::Q5_K,
            _ => mixture.base(),
        };
        let is_small = matches!(ty, GgmlType::Q3_K | GgmlType::Q4_K);
        if self.shape.is_70b() && is_small { GgmlType::Q5_K } else { ty }
    }

    /// The type of the last matrix of this layer's feed-forward block.
    fn of_down(&self, mixture: Mixture, layer: usize) -> GgmlType {
        use Mixture::*;
        let is_falcon = self.shape.architecture == "falcon";
        let n_layer = self.shape.n_layer as usize;
        let (is_early, is_first) = (layer < n_layer / 8, layer < n_layer / 16);
        let needs_more = needs_more_bits(layer, n_layer);
        match mixture {
            Q2K => GgmlType::Q3_K,
            Q2KSmall if is_early => GgmlType::Q4_K,
            Q3KMedium if is_first => GgmlType::Q5_K,
            Q3KMedium if !is_falcon || needs_more => GgmlType::Q4_K,
            Q3KLarge if is_falcon => GgmlType::Q4_K,
            Q3KLarge => GgmlType::Q5_K,
            Q4KMedium if is_falcon && is_first => GgmlType::Q6_K,
            Q4KMedium if is_falcon && needs_more => GgmlType::Q5_K,
            Q4KMedium if is_falcon => GgmlType::Q4_K,
            Q4KMedium | Q5KMedium if needs_more => GgmlType::Q6_K,
            Q4KSmall if !is_falcon && is_early => GgmlType::Q5_K,
            Iq4Nl | Iq4Xs if is_early && !self.has_importance => GgmlType::Q5_K,
            _ => mixture.base(),
        }
    }
}

/// The layer in a name such as `blk.7.attn_v.weight`.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// Whether a layer is in the first or last eighth, or is every third one in between.
fn needs_more_bits(layer: usize, n_layer: usize) -> bool {
    let eighth = n_layer / 8;
    layer < eighth || layer >= 7 * n_layer / 8 || (layer - eighth) % 3 == 2
}

/// The type that is used instead of one whose blocks do not fit.
fn shorter_blocks(ty: GgmlType, n_cols: usize) -> GgmlType {
    let shorter = match ty {
        GgmlType::IQ4_XS => GgmlType::IQ4_NL,
        GgmlType::Q2_K | GgmlType::Q3_K => GgmlType::Q4_0,
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        other => other,
    };
    if n_cols.is_multiple_of(shorter.block_len()) { shorter } else { GgmlType::F16 }
}

/// How many matrices got another type than wanted because their rows are not a whole number of its blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallbacks(Vec<(GgmlType, GgmlType, usize)>);

impl Fallbacks {
    /// Whether every matrix got the wanted type.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn count(&mut self, wanted: GgmlType, ty: GgmlType) {
        match self.0.iter_mut().find(|entry| (entry.0, entry.1) == (wanted, ty)) {
            Some((.., n)) => *n += 1,
            None => self.0.push((wanted, ty, 1)),
        }
    }
}

impl fmt::Display for Fallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n: usize = self.0.iter().map(|entry| entry.2).sum();
        let noun = if n == 1 { "matrix has" } else { "matrices have" };
        write!(f, "{n} {noun} rows that are no whole number of blocks: ")?;
        for (index, (wanted, ty, n)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{n} in {ty} instead of {wanted}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What llama.cpp chooses for the same models, written by scripts/golden/mixtures.py.
    const GOLDEN: &str = include_str!("../tests/golden/mixtures.txt");

    #[test]
    fn mixtures_are_those_of_llama_cpp() {
        let mut n_compared = 0;
        for model in GOLDEN.split("\n\n") {
            let (title, rest) = model.split_once('\n').unwrap();
            let (architecture, numbers) = title.split_once(' ').unwrap();
            let numbers: Vec<u32> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
            let &[n_layer, n_head, n_head_kv, n_expert] = &numbers[..] else { panic!("{title}") };
            let shape = ModelShape { architecture, n_layer, n_head, n_head_kv, n_expert };
            let mut matrices: Vec<(&str, usize, usize)> = Vec::new();
            for line in rest.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let ["=", mixture, importance, runs @ ..] = &words[..] else {
                    matrices.push((words[0], words[1].parse().unwrap(), words[2].parse().unwrap()));
                    continue;
                };
                let wanted = runs.iter().flat_map(|run| {
                    let (n, ty) = run.split_once('x').unwrap();
                    std::iter::repeat_n(ty, n.parse().unwrap())
                });
                // The order of tensors in a file must not matter.
                let names = matrices.iter().rev().map(|matrix| matrix.0);
                let types = MatrixTypes::from_name(mixture).unwrap();
                let mut chooser = TypeChooser::new(types, shape, names);
                if *importance == "imatrix" {
                    chooser = chooser.with_importance();
                }
                for (&(name, n_cols, n), want) in matrices.iter().zip(wanted) {
                    let ty = chooser.choose(name, n_cols, n);
                    assert_eq!(ty.name(), want, "{title}, {mixture} {importance}: {name}");
                    n_compared += 1;
                }
            }
        }
        assert!(n_compared > 10000, "{n_compared} tensors");
    }

    #[test]
    fn docs_models_md_lists_the_names() {
        let (_, section) = include_str!("../../../docs/models.md").split_once("\n## Quantisation\n").unwrap();
        let (_, list) = section.split_once("are named as llama.cpp names them: ").unwrap();
        let (list, _) = list.split_once(". Where rows").unwrap();
        let mut documented: Vec<&str> =
            list.split('`').skip(1).step_by(2).filter(|name| *name != "--pure").collect();
        documented.sort_unstable();
        let names = MatrixTypes::names();
        let mut in_code: Vec<&str> = names.split(", ").collect();
        in_code.sort_unstable();
        assert_eq!(documented, in_code);
    }

    #[test]
    fn names_are_found_again() {
        for name in MatrixTypes::names().split(", ") {
            assert!(MatrixTypes::from_name(name).is_some(), "{name}");
        }
        for (name, file_type) in [
            ("q4_k_s", 14),
            ("q4_k_m", 15),
            ("Q4_K", 15),
            ("Q5_K_S", 16),
            ("q5_k", 17),
            ("Q6_K", 18),
            ("q8_0", 7),
            ("q2_k", 10),
            ("q3_k", 12),
            ("iq4_xs", 30),
            ("MXFP4_MOE", 38),
        ] {
            assert_eq!(MatrixTypes::from_name(name).unwrap().file_type(), file_type, "{name}");
        }
        for (index, row) in MIXTURES.iter().enumerate() {
            assert_eq!(row.1 as usize, index, "{}", row.0);
        }
        let small = MatrixTypes::Mixture(Mixture::Q2KSmall);
        assert!(small.needs_importance("blk.0.ffn_up.weight", GgmlType::Q2_K));
        assert!(!small.needs_importance("blk.0.ffn_up.weight", GgmlType::Q4_0));
        assert!(!small.needs_importance("token_embd.weight", GgmlType::Q2_K));
        for name in ["IQ1_S", "IQ3_M", "Q4_K_X", ""] {
            assert_eq!(MatrixTypes::from_name(name), None);
        }
    }

    #[test]
    fn what_took_another_place_is_counted() {
        let shape = ModelShape { architecture: "llama", n_layer: 1, n_head: 1, n_head_kv: 1, n_expert: 0 };
        let choose = |types, matrices: &[(&str, usize)]| {
            let mut chooser = TypeChooser::new(types, shape, matrices.iter().map(|matrix| matrix.0));
            let types: Vec<_> =
                matrices.iter().map(|&(name, n_cols)| chooser.choose(name, n_cols, 1)).collect();
            (types, chooser.fallbacks())
        };
        let matrices =
            [("token_embd.weight", 576), ("blk.0.ffn_up.weight", 576), ("blk.0.ffn_down.weight", 36)];
        let (types, fallbacks) = choose(MatrixTypes::Mixture(Mixture::Q4KSmall), &matrices);
        assert_eq!(types, [GgmlType::Q8_0, GgmlType::Q5_0, GgmlType::F16]);
        assert_eq!(
            fallbacks.to_string(),
            "3 matrices have rows that are no whole number of blocks: \
             1 in Q8_0 instead of Q6_K, 1 in Q5_0 instead of Q4_K, 1 in F16 instead of Q4_K"
        );
        let (types, fallbacks) = choose(MatrixTypes::All(GgmlType::Q8_0), &matrices);
        assert_eq!(types, [GgmlType::Q8_0, GgmlType::Q8_0, GgmlType::F16]);
        assert!(!fallbacks.is_empty());
        let (types, fallbacks) = choose(MatrixTypes::All(GgmlType::BF16), &matrices);
        assert!(types == [GgmlType::BF16; 3] && fallbacks.is_empty());
    }
}
