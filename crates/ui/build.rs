//! Rebuilds this crate when a file is added to what is compiled in; the derives see only edits.

fn main() {
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=vendor");
    println!("cargo::rerun-if-changed=templates");
}
