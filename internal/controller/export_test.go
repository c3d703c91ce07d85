package controller

// The readers of texts in Secrets, for the tests: each says what is wrong, or nothing.

// RefreshTokenFault reads a refresh token to import.
func RefreshTokenFault(value []byte) string { return refreshTokenFault(value) }

// ClientIDFault reads a client id.
func ClientIDFault(value []byte) string { return clientIDFault(value) }

// ClientSecretFault reads a client secret.
func ClientSecretFault(value []byte) string { return clientSecretFault(value) }

// CertificateFault reads a list of authorities.
func CertificateFault(value []byte) string { return certificateFault(value) }
