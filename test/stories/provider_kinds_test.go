package stories_test

import (
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// kind is a kind of provider, and what the client declares of it.
type kind struct {
	name    string
	reuse   provider.ReusePolicy
	declare v1alpha1.RefreshTokens
}

const grace = 30 * time.Second

func kinds() []kind {
	rejects := v1alpha1.RefreshTokens{OnReuse: v1alpha1.ReuseRejects}
	graceful := v1alpha1.RefreshTokens{ReuseGraceSeconds: int32(grace / time.Second)}
	reusable := v1alpha1.RefreshTokens{Use: v1alpha1.RefreshTokenReusable}
	return []kind{
		{"strict", provider.ReusePolicy{Kind: provider.Strict}, rejects},
		{"revoke-family", provider.ReusePolicy{Kind: provider.RevokeFamily}, v1alpha1.RefreshTokens{}},
		{"revoke-user", provider.ReusePolicy{Kind: provider.RevokeUser}, v1alpha1.RefreshTokens{}},
		{"grace-same-successor", provider.ReusePolicy{Kind: provider.GraceSameSuccessor, Grace: grace}, graceful},
		{"grace-several", provider.ReusePolicy{Kind: provider.GraceSeveral, Grace: grace}, graceful},
		{"grace-only-last", provider.ReusePolicy{Kind: provider.GraceOnlyLast, Grace: grace}, graceful},
		{"reusable", provider.ReusePolicy{Kind: provider.Reusable}, reusable},
		{"reusable-renewed", provider.ReusePolicy{Kind: provider.ReusableRenewed}, reusable},
	}
}

func kindNamed(name string) kind {
	for _, k := range kinds() {
		if k.name == name {
			return k
		}
	}
	panic("there is no kind " + name)
}

// graceful: a second use is forgiven for a while.
func (k kind) graceful() bool { return k.reuse.Grace > 0 }

// revokes: a second use ends the grant.
func (k kind) revokes() bool {
	return k.reuse.Kind == provider.RevokeFamily || k.reuse.Kind == provider.RevokeUser
}

// reusable: nothing is ever spent.
func (k kind) reusable() bool {
	return k.reuse.Kind == provider.Reusable || k.reuse.Kind == provider.ReusableRenewed
}
