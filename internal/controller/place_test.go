package controller_test

import (
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// A node that is gone comes back, and with it the result of a code that was given up: a person has consented again since. Where
// refresh tokens are reusable, they are used without a claim.
func TestTheResultOfAnEarlierCodeNeverReplacesALaterConsent(t *testing.T) {
	t.Parallel()
	at := func(grant, rotation, claim int64) *seal.Credential {
		return &seal.Credential{GrantSequence: grant, Rotation: rotation, ClaimSequence: claim}
	}
	held, second := at(1, 9, 5), at(2, 10, 7)
	if !controller.Place(held, second, true) {
		t.Fatal("the second code is not kept")
	}
	for range 3 {
		refreshed := at(second.GrantSequence, second.Rotation+1, 0)
		if !controller.Place(second, refreshed, false) {
			t.Fatal("what a reusable token brought is not kept")
		}
		second = refreshed
	}
	if first := at(2, 10, 6); controller.Place(second, first, true) {
		t.Errorf("the first code replaces the second, as %d.%d", first.GrantSequence, first.Rotation)
	}
	if same := at(2, 10, 7); controller.Place(second, same, true) {
		t.Errorf("a second replay of the second code replaces its successors, as %d.%d", same.GrantSequence, same.Rotation)
	}
	if third := at(2, 10, 8); !controller.Place(second, third, true) {
		t.Error("a later code is not kept")
	}
}
