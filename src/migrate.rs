//! Placeholder until the runner lands.
pub(crate) fn space(schema: &str) -> i32 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for b in schema.bytes() {
        h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    i32::try_from((h ^ (h >> 31)) & 0x7fff_ffff).unwrap_or(1).max(1)
}
pub(crate) fn render(sql: &str, schema: &str) -> String {
    sql.replace("{schema}", &format!("\"{schema}\"")).replace("{space}", &space(schema).to_string())
}
