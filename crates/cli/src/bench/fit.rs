//! Costs of the simulated machine with which it takes as long as this one.

use machine::Costs;
use measure::faults::Kind;
use std::collections::BTreeMap;

const PAGE: u64 = 4096;

/// Costs that give these medians, as far as they are known and the machine's costs can: what is not known is as
/// by default.
///
/// Any fault costs what the cheapest kind without a transfer does. What the disk takes after its first byte is what a
/// page takes in a scan; all else of a page that comes alone is the disk's latency.
pub(super) fn fit(medians: &BTreeMap<Kind, u64>) -> Costs {
    let without_transfer = [Kind::ZeroFill, Kind::Parked, Kind::CopyOnWrite, Kind::Stack];
    let known = |kind: Kind| medians.get(&kind).copied();
    let Some(fault) = without_transfer.into_iter().filter_map(known).min() else {
        return Costs::default();
    };
    let besides = |kind: Kind| known(kind).map_or(0, |median| median - fault);
    let mut costs = Costs {
        fault,
        zero: besides(Kind::ZeroFill),
        stack: besides(Kind::Stack),
        copy: besides(Kind::CopyOnWrite),
        mapped: besides(Kind::Parked),
        ..Costs::default()
    };
    if let Some(a_page) = known(Kind::AheadPage).filter(|ns| *ns > 0) {
        costs.bandwidth = (PAGE * 1_000_000_000 / a_page).max(1);
    }
    if let Some(alone) = known(Kind::SwapIn) {
        let transfer = costs.transfer(PAGE) - costs.latency;
        costs.latency = alone.saturating_sub(fault + transfer);
    }
    if let Some(file) = known(Kind::File) {
        costs.file = file.saturating_sub(fault + costs.transfer(PAGE));
    }
    costs
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::model;
    use super::*;

    /// What a machine took, in nanoseconds.
    pub(in super::super) const MEASURED: [(Kind, u64); 6] = [
        (Kind::ZeroFill, 6_600),
        (Kind::Parked, 9_900),
        (Kind::CopyOnWrite, 1_800),
        (Kind::SwapIn, 81_700),
        (Kind::AheadPage, 3_700),
        (Kind::File, 90_000),
    ];

    #[test]
    fn the_fitted_machine_takes_as_long() {
        let measured: BTreeMap<Kind, u64> = MEASURED.into_iter().chain([(Kind::Stack, 1_300)]).collect();
        let fitted = model::figures(fit(&measured)).unwrap();
        assert_eq!(fitted.len(), measured.len() - 1, "of scans the machine knows the bandwidth alone");
        for (kind, ns) in fitted {
            assert!(ns.abs_diff(measured[&kind]) <= 1, "{kind:?}: {ns}");
        }
    }

    #[test]
    fn what_is_not_known_is_as_by_default() {
        assert_eq!(fit(&BTreeMap::new()), Costs::default());
        let only = BTreeMap::from([(Kind::Parked, 5_000)]);
        assert_eq!(fit(&only), Costs { fault: 5_000, ..Costs::default() });
        // A file that is faster than the store: no cost is negative.
        let odd = BTreeMap::from([(Kind::Parked, 5_000), (Kind::SwapIn, 90_000), (Kind::File, 50_000)]);
        assert_eq!(fit(&odd).file, 0);
    }
}
