//! Filter: what leaves chunks out.
