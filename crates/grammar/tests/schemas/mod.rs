//! Schemas that are designed to take unlimited time or memory.

/// Names and schemas.
pub fn hostile() -> Vec<(&'static str, String)> {
    let numbered = |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<Vec<_>>().join(",");
    let mut deep = String::from("true");
    for _ in 0..60 {
        deep = format!(r#"{{"items":{deep}}}"#);
    }
    let mut nots = String::from(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#);
    for _ in 0..40 {
        nots = format!(r#"{{"not":{nots}}}"#);
    }
    let mut all_any = String::from(r#"{"required":["a"]}"#);
    for n in 0..30 {
        all_any = format!(r#"{{"anyOf":[{all_any},{{"required":["b{n}"]}}],"minProperties":{n}}}"#);
    }
    let mut in_place = String::from(r#"{"required":["a"]}"#);
    for n in 0..40 {
        let kind = ["allOf", "anyOf", "oneOf"][n % 3];
        in_place = format!(r#"{{"{kind}":[{in_place},{{"maxProperties":{n}}}]}}"#);
    }
    let mut conditions = String::from(r#"{"required":["a"]}"#);
    for _ in 0..100 {
        conditions = format!(r#"{{"if":{conditions},"then":{{"minProperties":1}}}}"#);
    }
    vec![
        ("itself", r##"{"$ref":"#"}"##.into()),
        ("itself in two steps", r##"{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#"}]}}}"##.into()),
        ("not itself", r##"{"not":{"$ref":"#"}}"##.into()),
        ("without end", r##"{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}"##.into()),
        ("a million times", r#"{"type":"array","items":{"type":"integer"},"minItems":1000000}"#.into()),
        ("4 milliards of characters", r#"{"type":"string","minLength":4294967296}"#.into()),
        ("a million characters", r#"{"type":"string","minLength":1000000,"maxLength":1000001}"#.into()),
        ("a million letters", r#"{"pattern":"^[a-z]*$","minLength":1000000}"#.into()),
        ("repetitions of repetitions", r#"{"pattern":"^(((a{99}){99}){99}){99}$"}"#.into()),
        ("the twentieth from the end", r#"{"pattern":"a.{20}$"}"#.into()),
        ("alternatives of repetitions", r#"{"pattern":"^((a|b|ab|ba)*c?){1,200}$"}"#.into()),
        ("classes", format!(r#"{{"pattern":"^({})$"}}"#, numbered(400, &|n| format!("[^{}]", char::from_u32(0x4E00 + n as u32).unwrap())))),
        ("nothing, 16 milliards of milliards of times", r#"{"pattern":"((){4000000000}){4000000000}"}"#.into()),
        ("no string that is short enough", r#"{"not":{"maxLength":18446744073709551615}}"#.into()),
        ("as many members as can be counted", r#"{"type":"object","maxProperties":18446744073709551615}"#.into()),
        ("one of 345 without values", format!(r#"{{"oneOf":[{}]}}"#, numbered(345, &|_| "false".into()))),
        ("what must exist among 1000", format!(r#"{{"type":"object","properties":{{{}}},"not":{{"patternProperties":{{"":{{"type":"null"}}}}}}}}"#, numbered(1000, &|n| format!("\"m{n}\":{{\"type\":\"null\"}}")))),
        ("parentheses", format!(r#"{{"pattern":"{}"}}"#, "(".repeat(100_000))),
        ("a long pattern", format!(r#"{{"pattern":"{}"}}"#, "[a-z]?".repeat(20_000))),
        ("an enum of 20000", format!(r#"{{"enum":[{}]}}"#, numbered(20_000, &|n| format!("\"word {n}\"")))),
        ("an enum of 20000 numbers", format!(r#"{{"enum":[{}]}}"#, numbered(20_000, &|n| format!("{n}.5")))),
        ("not one of 20000", format!(r#"{{"not":{{"enum":[{}]}}}}"#, numbered(20_000, &|n| format!("\"{n}\"")))),
        ("10000 members", format!(r#"{{"properties":{{{}}}}}"#, numbered(10_000, &|n| format!("\"m{n}\":{{\"type\":\"null\"}}")))),
        ("10000 constant members", format!(r#"{{"const":{{{}}}}}"#, numbered(10_000, &|n| format!("\"m{n}\":[{n}]")))),
        ("not 10000 constant members", format!(r#"{{"not":{{"const":{{{}}}}}}}"#, numbered(10_000, &|n| format!("\"m{n}\":[{n}]")))),
        ("100 dependencies", format!(r#"{{"dependentRequired":{{{}}}}}"#, numbered(100, &|n| format!("\"a{n}\":[\"b{n}\"]")))),
        ("20 dependent schemas", format!(r#"{{"dependentSchemas":{{{}}}}}"#, numbered(20, &|n| format!("\"a{n}\":{{\"minProperties\":{n}}}")))),
        ("oneOf of 300 objects", format!(r#"{{"oneOf":[{}]}}"#, numbered(300, &|n| format!("{{\"properties\":{{\"p{n}\":{{\"type\":\"string\"}}}}}}")))),
        ("allOf of anyOf", format!(r#"{{"allOf":[{}]}}"#, numbered(40, &|n| format!("{{\"anyOf\":[{{\"required\":[\"a{n}\"]}},{{\"required\":[\"b{n}\"]}}]}}")))),
        ("allOf of patterns", format!(r#"{{"allOf":[{}]}}"#, numbered(12, &|n| format!("{{\"pattern\":\"a.{{{n}}}b\"}}")))),
        ("allOf of divisors", format!(r#"{{"allOf":[{}]}}"#, numbered(12, &|n| format!("{{\"multipleOf\":{}}}", [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37][n])))),
        ("a divisor of many remainders", r#"{"type":"integer","multipleOf":999983}"#.into()),
        ("patterns of names", format!(r#"{{"patternProperties":{{{}}}}}"#, numbered(30, &|n| format!("\"a.{{{n}}}b\":{{\"const\":{n}}}")))),
        ("members and patterns", format!(r#"{{"properties":{{{}}},"patternProperties":{{"a.*b":true,"^[^c]*$":{{"type":"null"}}}},"additionalProperties":{{"type":"string"}}}}"#, numbered(120, &|n| format!("\"property number {n}\":{{\"type\":\"null\"}}")))),
        ("contains and counts", r#"{"contains":{"type":"string"},"minContains":500,"maxContains":1000,"minItems":2000,"maxItems":3000}"#.into()),
        ("prefix of 100000", format!(r#"{{"prefixItems":[{}]}}"#, numbered(100_000, &|_| "{}".into()))),
        ("counted members", format!(r#"{{"minProperties":60,"maxProperties":90,"properties":{{{}}}}}"#, numbered(120, &|n| format!("\"m{n}\":{{\"type\":\"null\"}}")))),
        ("a chain of 10000 references", format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d10000":true}}}}"##, numbered(10_000, &|n| format!("\"d{n}\":{{\"$ref\":\"#/$defs/d{}\"}}", n + 1)))),
        ("a list of 10000 references", format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d10000":true}}}}"##, numbered(10_000, &|n| format!("\"d{n}\":{{\"items\":{{\"$ref\":\"#/$defs/d{}\"}}}}", n + 1)))),
        ("references to all of each other", format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, numbered(40, &|n| format!("\"d{n}\":{{\"properties\":{{{}}},\"allOf\":[{}]}}", numbered(40, &|m| format!("\"p{m}\":{{\"$ref\":\"#/$defs/d{m}\"}}")), numbered(n + 1, &|m| format!("{{\"properties\":{{\"q\":{{\"$ref\":\"#/$defs/d{m}\"}}}}}}")))))),
        ("conjunctions of conjunctions", format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, numbered(24, &|n| format!("\"d{n}\":{{\"allOf\":[{{\"items\":{{\"$ref\":\"#/$defs/d{}\"}}}},{{\"items\":{{\"$ref\":\"#/$defs/d{}\"}},\"contains\":{{\"$ref\":\"#/$defs/d{}\"}}}}]}}", (n * 7 + 1) % 24, (n * 5 + 2) % 24, (n * 11 + 3) % 24)))),
        ("deep", deep),
        ("not not", nots),
        ("alternatives inside alternatives", all_any),
        ("all kinds of alternatives inside one another", in_place),
        ("conditions inside conditions", conditions),
        ("too deep for JSON", format!("{}{}", r#"{"not":"#.repeat(5_000), "}".repeat(5_000))),
        ("long bounds", format!(r#"{{"minimum":0.{}1,"maximum":1{}}}"#, "0".repeat(290), "0".repeat(300))),
        ("unevaluated of 30 alternatives", format!(r#"{{"unevaluatedProperties":false,"anyOf":[{}]}}"#, numbered(30, &|n| format!("{{\"properties\":{{\"p{n}\":true}}}}")))),
        ("unevaluated items of 30 alternatives", format!(r#"{{"unevaluatedItems":false,"anyOf":[{}]}}"#, numbered(30, &|n| format!("{{\"contains\":{{\"const\":{n}}}}}")))),
        ("unique of 129", format!(r#"{{"uniqueItems":true,"items":{{"enum":[{}]}}}}"#, numbered(129, &|n| n.to_string()))),
        ("unique of 128", format!(r#"{{"uniqueItems":true,"items":{{"enum":[{}]}}}}"#, numbered(128, &|n| n.to_string()))),
        ("long words", format!(r#"{{"enum":["{}","{}"]}}"#, "a".repeat(200_000), "ab".repeat(100_000))),
        ("long names", format!(r#"{{"properties":{{"{}":true}}}}"#, "a".repeat(200_000))),
    ]
}
