package seal

import (
	"slices"
	"time"
)

const (
	// KeyDistribution is how long a new key is given to reach everybody before it seals. A replica that is later is not in danger:
	// it reports the key as missing, writes nothing over what it cannot open, and goes on when it has the key. But the consent
	// pages, whose keys are rotated along, take theirs from a mounted Secret: a kubelet looks after it every minute or so, and
	// where it caches Secrets by time, some minutes later. Until then a page opens no link and no cookie of the new key.
	KeyDistribution = 10 * time.Minute
	// KeyFarewell is how long a key is disabled, so that every replica notices what still needs it, before it is removed.
	KeyFarewell = time.Minute
	// KeyRest is how long a key must have sealed nothing before it may be retired: far longer than the result of any token
	// request is on its way.
	KeyRest = time.Hour
)

// KeyAction is what is to be done to the keys of a keyring.
type KeyAction string

const (
	// KeyRests changes nothing: there is nothing to do, or not yet.
	KeyRests KeyAction = "Rests"
	// KeyAdd adds a key.
	KeyAdd KeyAction = "Add"
	// KeyPromote makes the key that was added the one that seals.
	KeyPromote KeyAction = "Promote"
	// KeyDisable is the first step to let a key go, if nothing is sealed under it.
	KeyDisable KeyAction = "Disable"
	// KeyRemove is the second one.
	KeyRemove KeyAction = "Remove"
)

// KeyStep is one step of a rotation or a retirement.
type KeyStep struct {
	Action KeyAction
	// Key is what it is about, where that is there already.
	Key Key
	// Refused: what was asked for is not done at all. The key that was named, and its state, say why.
	Refused bool
	// Rest is how long the key must have sealed nothing yet, before it goes.
	Rest time.Duration
}

// KeyRequest is what is asked for: that the key that seals be replaced, and that one that only opens be retired. Each names
// the key that it is about, so that a request that stays, as in a manifest, is carried out once.
type KeyRequest struct{ Rotate, Retire string }

// NextKeyStep decides what to do next. How far a rotation is, the keys themselves tell: there is no other record of it. The
// age of a key is for how long the caller has seen it in its present state.
func (k *Keyring) NextKeyStep(asked KeyRequest, age func(Key) time.Duration) KeyStep {
	rotation := k.rotationStep(asked.Rotate, age)
	if rotation.Action != KeyRests || rotation.Refused {
		return rotation
	}
	return k.retirementStep(asked, age)
}

func (k *Keyring) rotationStep(id string, age func(Key) time.Duration) KeyStep {
	named := Key{id, k.KeyState(id)}
	switch {
	case id == "", named.State == KeyDecryptOnly, named.State == KeyDisabled, k.Retired(id):
		return KeyStep{Action: KeyRests} // nothing was asked for, or it is done
	case named.State != KeyPrimary:
		return KeyStep{Action: KeyRests, Key: named, Refused: true}
	}
	at := slices.IndexFunc(k.Keys(), func(key Key) bool { return key.State == KeyDistributed })
	if at < 0 {
		return KeyStep{Action: KeyAdd}
	}
	if added := k.Keys()[at]; age(added) >= KeyDistribution {
		return KeyStep{Action: KeyPromote, Key: added}
	}
	return KeyStep{Action: KeyRests}
}

func (k *Keyring) retirementStep(asked KeyRequest, age func(Key) time.Duration) KeyStep {
	id := asked.Retire
	named := Key{id, k.KeyState(id)}
	switch {
	case id == "", k.Retired(id):
		return KeyStep{Action: KeyRests}
	case named.State == KeyPrimary && id == asked.Rotate:
		return KeyStep{Action: KeyRests} // it is being replaced
	case named.State == KeyDecryptOnly && age(named) < KeyRest:
		return KeyStep{Action: KeyRests, Key: named, Rest: KeyRest - age(named)}
	case named.State == KeyDecryptOnly:
		return KeyStep{Action: KeyDisable, Key: named}
	case named.State == KeyDisabled && age(named) < KeyFarewell:
		return KeyStep{Action: KeyRests}
	case named.State == KeyDisabled:
		return KeyStep{Action: KeyRemove, Key: named}
	default:
		return KeyStep{Action: KeyRests, Key: named, Refused: true}
	}
}
