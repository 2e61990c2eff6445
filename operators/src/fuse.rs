//! Fuse: what makes one ranking of several.
