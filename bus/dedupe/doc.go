// Package dedupe drops messages that have come before, as middleware for any
// Watermill Router or handler chain:
//
//	store := dedupe.NewTTLStore(time.Hour)
//	defer store.Close()
//	router.AddMiddleware(dedupe.Middleware(store, nil)) // by UUID
//
// A key is reserved before the handler runs, confirmed when it has succeeded,
// and given back when it has failed, so that the retry of a failed message is
// let through. [TTLStore] keeps keys in memory, bounded; [FromRepository]
// takes a store made for Watermill's own Deduplicator.
//
// The package knows nothing of leat's envelopes; package bus builds on it.
package dedupe
