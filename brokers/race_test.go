//go:build race

package brokers_test

// raceDetector is true where this is built with -race.
const raceDetector = true
