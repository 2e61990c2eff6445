//! `--sweep node.with.key=v1,v2`: the combinations of settings to evaluate.

use serde_json::Value as Json;

use crate::exit::Error;

/// Most variants of one evaluation.
const VARIANTS_MAX: usize = 64;

/// The settings of each variant, as `--set` takes them: every combination of the values, the first sweep slowest.
///
/// Without a sweep there is one variant, which changes nothing.
pub(super) fn variants(sweeps: &[String]) -> Result<Vec<Vec<String>>, Error> {
    let mut variants: Vec<Vec<String>> = vec![Vec::new()];
    for sweep in sweeps {
        let values = values(sweep)?;
        variants = variants
            .iter()
            .flat_map(|settings| {
                values.iter().map(|value| [settings.as_slice(), std::slice::from_ref(value)].concat())
            })
            .collect();
        if variants.len() > VARIANTS_MAX {
            return Err(Error::usage(format!(
                "the sweeps make {} variants, more than {VARIANTS_MAX}",
                variants.len()
            ))
            .hint("leave out values, or evaluate in several commands"));
        }
    }
    Ok(variants)
}

/// `node.with.key=value` for each value of a sweep. Values are read as in a flow: `[a, b]` is one value, a list.
fn values(sweep: &str) -> Result<Vec<String>, Error> {
    let malformed = |why: &str| {
        Error::usage(format!("`--sweep {sweep}`: {why}"))
            .hint("write `--sweep node.with.key=v1,v2`, for example `--sweep search.with.top_k=5,10,20`")
    };
    let (path, values) = sweep.split_once('=').ok_or_else(|| malformed("there is no `=`"))?;
    let parsed = serde_yaml::from_str(&format!("[{values}]"));
    let Ok(Json::Array(values)) = parsed else { return Err(malformed("its values cannot be read")) };
    if values.is_empty() {
        return Err(malformed("it has no value"));
    }
    let mut settings: Vec<String> = Vec::with_capacity(values.len());
    for value in values {
        let setting = format!("{path}={value}");
        if settings.contains(&setting) {
            return Err(malformed(&format!("`{value}` stands twice")));
        }
        settings.push(setting);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sweeps: &[&str]) -> Result<Vec<String>, String> {
        let sweeps: Vec<String> = sweeps.iter().map(|sweep| (*sweep).to_owned()).collect();
        let variants = variants(&sweeps).map_err(|error| error.message)?;
        Ok(variants.iter().map(|settings| settings.join(" ")).collect())
    }

    #[test]
    fn sweeps_are_combined() {
        assert_eq!(made(&[]).unwrap(), [""]);
        assert_eq!(
            made(&["a.with.k=1, 2", "b.with.by=words,[p, q]"]).unwrap(),
            [
                "a.with.k=1 b.with.by=\"words\"",
                "a.with.k=1 b.with.by=[\"p\",\"q\"]",
                "a.with.k=2 b.with.by=\"words\"",
                "a.with.k=2 b.with.by=[\"p\",\"q\"]"
            ]
        );
    }

    #[test]
    fn a_sweep_that_makes_no_sense_is_refused() {
        for (sweep, why) in [
            ("a.with.k", "there is no `=`"),
            ("a.with.k=", "it has no value"),
            ("a.with.k=[1", "cannot be read"),
            ("a.with.k=1,1", "`1` stands twice"),
        ] {
            assert!(made(&[sweep]).unwrap_err().contains(why), "{sweep}");
        }
        let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let many = format!("a.with.k={}", many.join(","));
        let error = made(&[&many, &many.replace("a.", "b.")]).unwrap_err();
        assert_eq!(error, "the sweeps make 81 variants, more than 64");
    }
}
