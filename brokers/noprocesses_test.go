//go:build !unix

package brokers_test

// playRole does nothing: tests with processes need signals.
func playRole() {}
