//! Records of operators that flows see as maps.

/// Makes serialisable structs values of the type `map<any>`.
macro_rules! map_record {
    ($($name:ident),+) => {
        $(impl anabranch_engine::value::PortType for $name {
            fn ty() -> anabranch_engine::types::Type {
                anabranch_engine::types::Type::map(anabranch_engine::types::Type::Any)
            }

            fn from_value(value: anabranch_engine::value::Value) -> Result<Self, anabranch_engine::value::Mismatch> {
                serde_json::from_value(value.to_json()).map_err(|_| {
                    let expected = <Self as anabranch_engine::value::PortType>::ty();
                    anabranch_engine::value::Mismatch::new(expected, &value)
                })
            }

            fn into_value(self) -> anabranch_engine::value::Value {
                anabranch_engine::value::Value::from_json(serde_json::to_value(self).unwrap_or_default())
            }
        })+
    };
}
pub(crate) use map_record;
