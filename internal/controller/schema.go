package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

var errSchemaTooOld = errors.New("the installed CustomResourceDefinition drops fields of the status")

// probe stands for a sealed credential in a write that is not carried out.
const probe = "probe"

// schemaLook is how often a definition that was seen to be too old is tried again.
const schemaLook = 30 * time.Second

// SchemaProof knows whether the installed definition keeps what must be kept. A definition of an earlier version drops
// fields that it does not know, silently: a credential written into it would be gone. Proof is a write that is not
// carried out (dry run), once for each process; a real write that comes back without the field disproves it.
//
// It is about what the operator writes. A field of a spec that a definition drops, such as a client's tokenRequest.parameters,
// makes another request, and loses nothing that was kept: whoever applies the spec again has it back.
type SchemaProof struct {
	Client client.Client
	Clock  clock.PassiveClock

	mu     sync.Mutex
	proven bool
	old    bool
	looked time.Time
}

// tooOld reports what was last seen. What was too old is tried again now and then: definitions are mended without an
// event that would reach the operator.
func (s *SchemaProof) tooOld(ctx context.Context, account *v1alpha1.ConnectedAccount) (bool, error) {
	s.mu.Lock()
	old, looked := s.old, s.looked
	s.mu.Unlock()
	if !old || s.Clock.Since(looked) < schemaLook {
		return old, nil
	}
	err := s.prove(ctx, account, true)
	if errors.Is(err, errSchemaTooOld) {
		return true, nil
	}
	return err != nil, err
}

// known reports whether the definition was seen to keep all.
func (s *SchemaProof) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proven
}

// prove makes sure that a credential can be kept, before one is asked for; anew where there is reason to doubt it.
func (s *SchemaProof) prove(ctx context.Context, account *v1alpha1.ConnectedAccount, doubt bool) error {
	s.mu.Lock()
	proven := s.proven
	s.mu.Unlock()
	if proven && !doubt {
		return nil
	}
	tried := account.DeepCopy()
	tried.Status.SealedCredential = probe
	tried.Status.BoundTo = v1alpha1.BoundTo{ClusterID: probe, AccountUID: probe}
	tried.Status.ClaimSequence, tried.Status.DoubtSequence = 1, 1
	tried.Status.Claim = v1alpha1.Claim{
		ID: probe, Sequence: 1, Attempt: 1, GrantSequence: ptr.To[int64](1), Rotation: ptr.To[int64](1), Fingerprint: probe,
		DurationSeconds: 1, Holder: v1alpha1.ClaimHolder{Journal: probe, Process: probe}, ContestedTime: &metav1.Time{Time: time.Unix(0, 0)},
	}
	tried.Status.Authorization = v1alpha1.Authorization{
		Attempt:     1,
		HandOver:    v1alpha1.HandOver{ID: probe, Sealed: probe, StateHash: probe, HandedOverTime: &metav1.Time{Time: time.Unix(0, 0)}},
		Exchange:    v1alpha1.CodeClaim{ID: probe, Sequence: 1, HandOverID: probe, Holder: v1alpha1.ClaimHolder{Journal: probe, Process: probe}},
		LastOutcome: v1alpha1.AuthorizationOutcome{StateHash: probe, Result: v1alpha1.AuthorizationInDoubt},
	}
	wanted := tried.Status.DeepCopy()
	if err := s.Client.Status().Update(ctx, tried, client.DryRunAll); err != nil {
		return fmt.Errorf("try whether a credential can be kept: %w", err)
	}
	kept := apiequality.Semantic.DeepEqual(&tried.Status, wanted)
	s.found(kept)
	if !kept {
		return errSchemaTooOld
	}
	return nil
}

// disprove notes that a real write lost the credential.
func (s *SchemaProof) disprove() { s.found(false) }

func (s *SchemaProof) found(kept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proven, s.old, s.looked = kept, !kept, s.Clock.Now()
}
