//! Filter: what leaves chunks out.

mod threshold;
