//! Which cores there are, and staying on one.

/// Pins this thread to the `i`-th core that the process may use, in the system's order. `Err` says why not.
pub fn pin(i: usize) -> Result<usize, String> {
    let cores = core_affinity::get_core_ids().ok_or("the cores of this process are not known")?;
    let core = cores.get(i).ok_or_else(|| format!("this process may use {} cores", cores.len()))?;
    if core_affinity::set_for_current(*core) {
        Ok(core.id)
    } else {
        Err(format!("the system refused core {}", core.id))
    }
}
