//! The documented words as SQL text.

use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::consensus::{Rule, Status};
use crate::messages::Vote;
use crate::proposal::State;

macro_rules! as_text {
    ($($name:ty),+) => { $(
        impl ToSql for $name {
            fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                self.tag().to_sql(ty, out)
            }

            fn accepts(ty: &Type) -> bool {
                <&str as ToSql>::accepts(ty)
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
                let tag = <&str as FromSql<'_>>::from_sql(ty, raw)?;
                Self::from_tag(tag).ok_or_else(|| format!("unknown word `{tag}`").into())
            }

            fn accepts(ty: &Type) -> bool {
                <&str as FromSql<'_>>::accepts(ty)
            }
        }
    )+ };
}

as_text!(State, Status, Rule, Vote);
