package controller

import (
	"context"
	"errors"
)

// RecoverOnce does, once, what every replica does when it starts: it reads the keyring, and settles what the journal
// holds. It is for whoever makes laps without a manager, who calls it until it works, before the first lap.
func (r *AccountReconciler) RecoverOnce(ctx context.Context) error {
	if err := r.Keyring.look(ctx); err != nil {
		return err
	}
	entries, err := r.Journal.Entries()
	failures := []error{err}
	for _, entry := range entries {
		failures = append(failures, r.replay(ctx, entry))
	}
	return errors.Join(failures...)
}
