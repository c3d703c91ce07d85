package seal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// The pages read their keys from a mounted Secret, which a kubelet brings up to date when it gets round to it. Whatever one
// page or the controller seals is opened by every other page, and what a page seals to the controller by the controller, at each
// moment of three rotations and retirements, however late each page is within what a kubelet may need.
func TestPagesThatAreLateUnderstandEachOtherWhileKeysAreRotated(t *testing.T) {
	t.Parallel()
	const tick = 10 * time.Second
	lags := []time.Duration{0, 90 * time.Second, 5 * time.Minute, 9 * time.Minute}
	keyring, err := newKeyring(t).WithConsentKeys()
	if err != nil {
		t.Fatal(err)
	}
	var history []*seal.Keyring // at each tick
	since := map[seal.Key]time.Duration{}
	asked, rotations := seal.KeyRequest{}, 0
	for now := time.Duration(0); now < 6*time.Hour; now += tick {
		for _, key := range keyring.Keys() {
			if _, known := since[key]; !known {
				since[key] = now
			}
		}
		step := keyring.NextKeyStep(asked, func(key seal.Key) time.Duration { return now - since[key] })
		if step.Action == seal.KeyRests && step.Rest == 0 && now >= time.Duration(rotations)*2*time.Hour {
			asked = seal.KeyRequest{Rotate: keyring.ID(), Retire: keyring.ID()}
			rotations++
		}
		keyring = stepped(t, keyring, step)
		history = append(history, keyring)
		if len(history)%6 == 0 || step.Action != seal.KeyRests { // each minute, and at each step
			understandEachOther(t, history, tick, lags, now)
		}
	}
	if rotations < 3 || len(keyring.Keys()) != 1 {
		t.Errorf("%d rotations were made, and %d keys are left", rotations, len(keyring.Keys()))
	}
}

// stepped carries a step out.
func stepped(t *testing.T, keyring *seal.Keyring, step seal.KeyStep) *seal.Keyring {
	t.Helper()
	next, err := keyring, error(nil)
	switch step.Action {
	case seal.KeyAdd:
		next, err = keyring.WithNewKey()
	case seal.KeyPromote:
		next, err = keyring.WithPrimary(step.Key.ID)
	case seal.KeyDisable:
		next, err = keyring.WithDisabled(step.Key.ID)
	case seal.KeyRemove:
		next, err = keyring.Without(step.Key.ID)
	case seal.KeyRests:
	}
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func understandEachOther(t *testing.T, history []*seal.Keyring, tick time.Duration, lags []time.Duration, now time.Duration) {
	t.Helper()
	controller := history[len(history)-1]
	parties := map[string]*seal.ConsentKeys{"the controller": consentKeysOf(t, controller)}
	for _, lag := range lags {
		parties[fmt.Sprintf("a page that is %v late", lag)] = consentKeysOf(t, history[max(0, len(history)-1-int(lag/tick))])
	}
	state := make([]byte, 32)
	binding := seal.HandOverBinding{AccountUID: "u", ClientUID: "c", ClientID: "i", RedirectURI: "r", Attempt: 1, StateHash: "s"}
	for by, keys := range parties {
		ticket, ticketErr := keys.SealTicket(seal.Ticket{Name: "a"})
		cookie, cookieErr := keys.SealCookie(state, seal.Cookie{ClientID: "i"})
		over, overErr := keys.SealHandOver(binding, seal.HandOver{Code: secret.New("code")})
		if ticketErr != nil || cookieErr != nil || overErr != nil {
			t.Fatal(ticketErr, cookieErr, overErr)
		}
		for other, opens := range parties {
			if _, err := opens.OpenTicket(ticket); err != nil {
				t.Errorf("after %v, %s cannot open a link of %s: %v", now, other, by, err)
			}
			if _, err := opens.OpenCookie(state, cookie); err != nil {
				t.Errorf("after %v, %s cannot open a cookie of %s: %v", now, other, by, err)
			}
		}
		if _, err := controller.OpenHandOver(binding, over); err != nil {
			t.Errorf("after %v, the controller cannot open what %s hands over: %v", now, by, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func consentKeysOf(t *testing.T, keyring *seal.Keyring) *seal.ConsentKeys {
	t.Helper()
	keys, err := seal.ParseConsentKeys(keyring.ConsentData())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
