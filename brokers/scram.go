package brokers

import (
	"crypto/sha256"
	"crypto/sha512"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// scramClient is one exchange of SCRAM, which sarama leaves to others.
type scramClient struct {
	hash         scram.HashGeneratorFcn
	login        login
	conversation *scram.ClientConversation // nil before Begin
}

func newSCRAM(mechanism string, l login) func() sarama.SCRAMClient {
	hash := scram.HashGeneratorFcn(sha256.New)
	if mechanism == saslSCRAM512 {
		hash = sha512.New
	}
	return func() sarama.SCRAMClient { return &scramClient{hash: hash, login: l} }
}

// Begin takes no notice of the password that the client was made with: it may have changed.
func (c *scramClient) Begin(_, _, authzID string) error {
	user, password := c.login.soon()
	client, err := c.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	c.conversation = client.NewConversation()
	return nil
}

func (c *scramClient) Step(challenge string) (response string, err error) {
	return c.conversation.Step(challenge)
}

func (c *scramClient) Done() bool { return c.conversation.Done() }

// oauthToken has the password for a token.
type oauthToken struct{ login login }

func (t oauthToken) Token() (*sarama.AccessToken, error) {
	_, token := t.login.soon()
	return &sarama.AccessToken{Token: token}, nil
}
