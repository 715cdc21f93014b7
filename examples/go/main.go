// Sign calls Chancery as a service would: signs, checks the signature, makes a JWT, streams, and reads why a call was denied.
//
// Usage: CHANCERY_DEV=DIR go run . [KEY]
package main

//go:generate buf generate

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	chancery "example.com/sign/gen/chancery/v1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged on the way; call again")

func main() {
	log.SetFlags(0)
	key := "keyRings/dev/keys/example"
	if len(os.Args) > 1 {
		key = os.Args[1]
	}
	// Told to the service, which stops working on what nobody waits for.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, key); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, key string) error {
	connection, err := fromEnvironment()
	if err != nil {
		return err
	}
	// One for the life of your service: calls share it.
	channel, err := grpc.NewClient(connection.target(), grpc.WithTransportCredentials(credentials.NewTLS(connection.tls)))
	if err != nil {
		return err
	}
	defer channel.Close()
	signing := chancery.NewSigningServiceClient(channel)
	return errors.Join(
		sign(ctx, signing, key),
		signJWT(ctx, signing, key, connection),
		stream(ctx, signing, key),
		beDenied(ctx, signing),
	)
}

func signRequest(key string, message []byte) *chancery.SignRequest {
	return &chancery.SignRequest{Name: key, Input: &chancery.SignInput{
		Input:  &chancery.SignInput_Message{Message: message},
		Crc32C: proto.Uint32(crc32.Checksum(message, castagnoli)),
	}}
}

// verify checks that an answer is whole, and its signature by Go's own library.
func verify(ctx context.Context, signing chancery.SigningServiceClient, signed *chancery.SignResponse, message []byte) error {
	if !signed.VerifiedInputCrc32C || crc32.Checksum(signed.Signature, castagnoli) != signed.SignatureCrc32C {
		return errDamaged
	}
	// The version that signed: after a rotation the key's name means another one.
	answer, err := signing.GetPublicKey(ctx, &chancery.GetPublicKeyRequest{Name: signed.Name})
	if err != nil {
		return err
	}
	if crc32.Checksum(answer.Data, castagnoli) != answer.DataCrc32C {
		return errDamaged
	}
	block, _ := pem.Decode(answer.Data)
	if block == nil {
		return errors.New("no PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	key, ok := public.(*ecdsa.PublicKey)
	digest := sha256.Sum256(message)
	if !ok || !ecdsa.VerifyASN1(key, digest[:], signed.Signature) {
		return fmt.Errorf("the signature of %s is not valid", signed.Name)
	}
	return nil
}

func sign(ctx context.Context, signing chancery.SigningServiceClient, key string) error {
	message := []byte("pay 5 to Ada")
	signed, err := signing.Sign(ctx, signRequest(key, message))
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if err := verify(ctx, signing, signed, message); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	fmt.Printf("signed and verified with %s, record %d\n", signed.Name, signed.RecordIndex)
	return nil
}

func signJWT(ctx context.Context, signing chancery.SigningServiceClient, key string, connection *connection) error {
	claims := `{"iss":"https://billing.example","sub":"ada","aud":"https://ledger.example"}`
	request := &chancery.SignJwtRequest{Name: key, Claims: claims, Lifetime: durationpb.New(5 * time.Minute)}
	answer, err := signing.SignJwt(ctx, request)
	if err != nil {
		return fmt.Errorf("sign a JWT: %w", err)
	}
	// What the receiver of the token does. It fetches the keys once in a while, not for each token.
	keys, err := fetchKeys(ctx, connection, key)
	if err != nil {
		return fmt.Errorf("fetch the JWKS: %w", err)
	}
	token, err := jwt.ParseSigned(answer.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err
	}
	var verified jwt.Claims
	if err := token.Claims(keys, &verified); err != nil {
		return fmt.Errorf("verify the JWT: %w", err)
	}
	expected := jwt.Expected{Issuer: "https://billing.example", AnyAudience: jwt.Audience{"https://ledger.example"}}
	if err := verified.Validate(expected); err != nil {
		return fmt.Errorf("verify the JWT: %w", err)
	}
	fmt.Printf("JWT of %s verified through JWKS\n", verified.Subject)
	return nil
}

func fetchKeys(ctx context.Context, connection *connection, key string) (*jose.JSONWebKeySet, error) {
	address := connection.endpoint + "/.well-known/jwks.json?" + url.Values{"name": {key}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: connection.tls, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var keys jose.JSONWebKeySet
	return &keys, json.NewDecoder(response.Body).Decode(&keys)
}

func stream(ctx context.Context, signing chancery.SigningServiceClient, key string) error {
	messages := map[string][]byte{}
	for n := range 5 {
		messages[fmt.Sprintf("invoice-%d", n)] = fmt.Appendf(nil, "pay %d to Ada", n)
	}
	calls, err := signing.StreamSign(ctx)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	go func() {
		for number, message := range messages {
			// Where this fails, Recv below says why.
			if calls.Send(&chancery.StreamSignRequest{CorrelationId: number, Request: signRequest(key, message)}) != nil {
				return
			}
		}
		_ = calls.CloseSend()
	}()
	answered := 0
	// Answers come as they are ready, in any order. One that failed does not end the stream.
	for ; ; answered++ {
		answer, err := calls.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if failed := answer.GetError(); failed != nil {
			return fmt.Errorf("stream: %s: %s", answer.CorrelationId, failed.Message)
		}
		if err := verify(ctx, signing, answer.GetResponse(), messages[answer.CorrelationId]); err != nil {
			return fmt.Errorf("stream: %s: %w", answer.CorrelationId, err)
		}
	}
	if answered != len(messages) {
		return fmt.Errorf("stream: %d answers to %d messages", answered, len(messages))
	}
	fmt.Printf("streamed %d signatures\n", answered)
	return nil
}

func beDenied(ctx context.Context, signing chancery.SigningServiceClient) error {
	_, err := signing.Sign(ctx, signRequest("keyRings/dev/keys/not-mine", []byte("pay 5 to Eve")))
	denied := status.Convert(err)
	for _, detail := range denied.Details() {
		// Decide by the reason, which is stable; the message is for people.
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "chancery" && info.Reason == "ACCESS_DENIED" && denied.Code() == codes.PermissionDenied {
			fmt.Printf("denied as it should be: %s, %s\n", denied.Code(), info.Reason)
			return nil
		}
	}
	return fmt.Errorf("not denied, but: %w", err)
}
