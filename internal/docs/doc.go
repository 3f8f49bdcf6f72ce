// Package docs has no code: its tests keep the documentation true.
package docs
