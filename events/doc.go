// Package events is fan-out: what is emitted at one hub reaches the listeners
// of every hub that is linked with it, each once, in the order of emission per
// link, within bounds.
//
//	var UserCreated = events.Define[User]("user.created")
//
//	hub := registry.Events()
//	l, err := events.Listen(hub, UserCreated, func(ctx context.Context, u User) {
//		fmt.Println("welcome,", u.Name)
//	})
//	if err != nil {
//		return err
//	}
//	defer l.Close()
//	err = events.Emit(ctx, hub, UserCreated, User{Name: "Ada"})
//
// A listener has its own goroutine and its own bounded queue; what does not
// fit is dropped by its policy, and counted. Emit does not wait for listeners;
// [Hub.Flush] does. Patterns are in NATS style: "user.*", "user.>".
//
// Listeners that share work have a [ListenOptions.Group]: one of them gets each
// event, in turn, and in a fleet those of one process.
package events
