//! What the demo brings along: the small program that the instances own, and the file of proposals.

use std::fs;
use std::io;
use std::path::Path;

/// The bundled proposals, one JSON object a line.
pub(crate) const PROPOSALS: &str = include_str!("../../demo/proposals.jsonl");

/// The command that measures a workspace.
pub(crate) const CHECK: &str = "sh check.sh";

/// What the check keeps from run to run; no part of the program.
pub(crate) const CHECK_FOLDER: &str = ".metrics";

macro_rules! files {
    ($($path:literal)+) => {
        [$(($path, include_str!(concat!("../../demo/workspace/", $path)))),+]
    };
}

/// Every file of the program.
const WORKSPACE: [(&str, &str); 27] = files! {
    "README.md" "check.sh" "lib/money.sh"
    "billing/tax.sh" "billing/discount.sh" "billing/invoice.sh"
    "orders/total.sh" "orders/status.sh"
    "shipping/rates.sh" "shipping/label.sh"
    "stock/reorder.sh"
    "samples/billing/tax.in" "samples/billing/tax.out"
    "samples/billing/discount.in" "samples/billing/discount.out"
    "samples/billing/invoice.in" "samples/billing/invoice.out"
    "samples/orders/total.in" "samples/orders/total.out"
    "samples/orders/status.in" "samples/orders/status.out"
    "samples/shipping/rates.in" "samples/shipping/rates.out"
    "samples/shipping/label.in" "samples/shipping/label.out"
    "samples/stock/reorder.in" "samples/stock/reorder.out"
};

/// Writes the program into a folder, which is made.
pub(crate) fn write_workspace(root: &Path) -> io::Result<()> {
    for (path, content) in WORKSPACE {
        let file = root.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, content)?;
    }
    Ok(())
}
