// Package guides has the code of the pages in docs/guides, as tests.
package guides
