//! Temporary.
fn main() {
    for (n, y) in fleetform_crds::definition::documents() {
        for d in ["crds/generated", "charts/fleetform/files/crds"] {
            std::fs::write(format!("{d}/{n}"), &y).unwrap();
        }
    }
}
