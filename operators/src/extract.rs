//! Extract: what turns text into data.
