package projection

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// Keys that a type of Secret wants.
const (
	keyDockerConfig = ".dockerconfigjson"
	keyUsername     = "username"
	keyPassword     = "password"
)

// Two tokens to try a text with: one without anything odd in it, and one with all that a format has to escape.
const (
	plainToken = "t"
	oddToken   = `"\'$(){}[]<>%:@/#?&;!` + "`"
)

// checkType finds what the API server would refuse in a Secret of the type, or a kubelet could not use.
func (l *Layout) checkType(secretType v1alpha1.SecretType) *Fault {
	has := func(key string) bool {
		_, first := l.first[key]
		_, second := l.second[key]
		return first || second
	}
	switch secretType {
	case v1alpha1.SecretTypeDockerConfigJSON:
		if !has(keyDockerConfig) {
			return invalid("a Secret of the type %s needs spec.secret.data[%s]", secretType, keyDockerConfig)
		}
		for _, token := range []string{plainToken, oddToken} {
			if fault := checkDockerConfig(l.Content(example(token))[keyDockerConfig]); fault != nil {
				return fault
			}
		}
	case v1alpha1.SecretTypeBasicAuth:
		if !has(keyUsername) || !has(keyPassword) {
			return invalid("a Secret of the type %s needs spec.secret.data[%s] and [%s]", secretType, keyUsername, keyPassword)
		}
	case v1alpha1.SecretTypeOpaque:
	}
	return nil
}

// example is a credential with a token, whose other values are like it.
func example(token string) Source {
	return Source{
		AccessToken: secret.New(token), ExpirationTime: time.Unix(0, 0),
		Scopes: []string{token}, OnBehalfOf: token, OnBehalfOfHeader: "on-behalf-of",
	}
}

// checkDockerConfig reads the file as a kubelet does: auth is the base64 of user:password.
func checkDockerConfig(content []byte) *Fault {
	const form = `{"auths":{"registry.example":{"auth":"$(login.base64)"}}}, and login: "user:$(access_token)"`
	var config struct {
		Auths map[string]struct {
			Auth string `json:"auth"`
		} `json:"auths"`
	}
	if json.Unmarshal(content, &config) != nil || len(config.Auths) == 0 {
		return invalid("spec.secret.data[%s] is no JSON object with registries in auths, or would be none with some tokens: write as in %s", keyDockerConfig, form)
	}
	for registry, login := range config.Auths {
		if login.Auth == "" {
			continue // username and password beside it, which kubelets read as well
		}
		text, err := base64.StdEncoding.DecodeString(login.Auth)
		if user, _, found := strings.Cut(string(text), ":"); err != nil || !found || user == "" {
			return invalid("in spec.secret.data[%s], auth of %s is not the base64 of user:password: write as in %s", keyDockerConfig, registry, form)
		}
	}
	return nil
}
