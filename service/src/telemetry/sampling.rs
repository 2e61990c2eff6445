//! Which runs are traced.

use opentelemetry_sdk::trace::Sampler;

use super::TelemetryError;
use crate::resources::Env;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The sampler that `share`, or else the standard variables ask for; whoever has decided before is followed.
pub(super) fn of(share: Option<f64>, env: Env<'_>) -> Result<Sampler, TelemetryError> {
    let parent_based = |root: Sampler| Sampler::ParentBased(Box::new(root));
    if let Some(share) = share {
        return Ok(parent_based(Sampler::TraceIdRatioBased(share)));
    }
    let ratio = || match env(ARGUMENT).filter(|value| !value.is_empty()) {
        None => Ok(1.0),
        Some(value) => value
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .ok_or(TelemetryError::Variable { name: ARGUMENT, value, known: "a share, from 0 to 1" }),
    };
    Ok(match env(SAMPLER).unwrap_or_default().as_str() {
        "" | "parentbased_always_on" => parent_based(Sampler::AlwaysOn),
        "parentbased_always_off" => parent_based(Sampler::AlwaysOff),
        "parentbased_traceidratio" => parent_based(Sampler::TraceIdRatioBased(ratio()?)),
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio()?),
        other => {
            return Err(TelemetryError::Variable {
                name: SAMPLER,
                value: other.to_owned(),
                known: "`always_on`, `always_off`, `traceidratio`, `parentbased_always_on`, `parentbased_always_off` or \
                        `parentbased_traceidratio`",
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_variables_count_where_nothing_else_is_said() {
        let env = |name: &str| match name {
            SAMPLER => Some("traceidratio".to_owned()),
            ARGUMENT => Some("0.25".to_owned()),
            _ => None,
        };
        assert!(format!("{:?}", of(None, &env).unwrap()).contains("0.25"));
        assert!(format!("{:?}", of(Some(0.5), &env).unwrap()).contains("0.5"));
        let wrong = of(None, &|_| Some("often".to_owned())).unwrap_err().to_string();
        assert!(
            wrong.starts_with(
                "the environment variable `OTEL_TRACES_SAMPLER` is `often`; it can be `always_on`"
            )
        );
    }
}
