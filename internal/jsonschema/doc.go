// Package jsonschema is the part of github.com/google/jsonschema-go v0.4.3 that compiles schemas and validates by them (MIT, see
// LICENSE), with a budget for validation.
//
// A schema of 97 bytes can make a validation of a few hundred bytes take for ever, and the original cannot be told to stop: it
// takes no context, and calls nothing of its user's on the way. What differs here: Validate takes a [Budget]; errors show a value only if it
// is short; and inference, defaults and their tests are left out. The files keep the original's names and order, so that the two can be
// compared.
package jsonschema
