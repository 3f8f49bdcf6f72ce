package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// shop is the program as it was: a Router that turns orders into receipts.
type shop struct {
	pubsub *gochannel.GoChannel
	router *message.Router
	seen   *tally
}

type order struct {
	SKU   string `json:"sku"`
	Count int    `json:"count"`
}

func newShop(w io.Writer) (*shop, error) {
	log := watermill.NopLogger{}
	// One unacknowledged message at a time: without that a GoChannel delivers
	// in any order, and so would leat's events arrive.
	pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, log)
	router, err := message.NewRouter(message.RouterConfig{}, log)
	if err != nil {
		return nil, err
	}
	s := &shop{pubsub: pubsub, router: router, seen: newTally()}
	router.AddMiddleware(s.seen.middleware, middleware.CorrelationID, middleware.Recoverer)
	router.AddHandler("charge", "orders", pubsub, "receipts", pubsub, charge)
	router.AddConsumerHandler("print", "receipts", pubsub, func(m *message.Message) error {
		_, err := fmt.Fprintf(w, "receipt: %s\n", m.Payload)
		return err
	})
	return s, nil
}

func charge(m *message.Message) ([]*message.Message, error) {
	var o order
	if err := json.Unmarshal(m.Payload, &o); err != nil {
		return nil, err
	}
	cents, err := price(o)
	if err != nil {
		return nil, err
	}
	receipt := fmt.Sprintf("%d x %s, %d cents", o.Count, o.SKU, cents)
	return []*message.Message{message.NewMessage(watermill.NewUUID(), []byte(receipt))}, nil
}

func price(o order) (cents int, err error) {
	each, ok := map[string]int{"tea": 390, "cup": 1250}[o.SKU]
	if !ok {
		return 0, fmt.Errorf("no such article: %q", o.SKU)
	}
	return each * o.Count, nil
}

// order publishes one, and returns when it has been handled.
func (s *shop) order(o order) error {
	payload, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return s.pubsub.Publish("orders", message.NewMessage(watermill.NewUUID(), payload))
}
