//! Rules of the repository, as tests: dependency arrows, sizes, marks, links.
