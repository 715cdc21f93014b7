package example;

import chancery.v1.GetPublicKeyRequest;
import chancery.v1.PublicKey;
import chancery.v1.PublicKeyFormat;
import chancery.v1.SignInput;
import chancery.v1.SignJwtRequest;
import chancery.v1.SignRequest;
import chancery.v1.SignResponse;
import chancery.v1.SigningServiceGrpc;
import chancery.v1.SigningServiceGrpc.SigningServiceBlockingStub;
import chancery.v1.StreamSignRequest;
import chancery.v1.StreamSignResponse;
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.zip.CRC32C;

/** Calls Chancery as a service would: signs, checks the signature, makes a JWT, streams, and reads why a call was denied. */
public final class Sign {
  private final Connection connection;
  private final SigningServiceGrpc.SigningServiceStub async;
  private final SigningServiceBlockingStub blocking;
  private final String key;

  private Sign(Connection connection, ManagedChannel channel, String key) {
    this.connection = connection;
    this.async = SigningServiceGrpc.newStub(channel);
    this.blocking = SigningServiceGrpc.newBlockingStub(channel);
    this.key = key;
  }

  /** Takes the name of a P-256 key, keyRings/dev/keys/example where not given. */
  public static void main(String[] args) throws Exception {
    Connection connection = Connection.fromEnvironment();
    URI endpoint = connection.endpoint();
    // One for the life of your service: calls share it.
    ManagedChannel channel =
        Grpc.newChannelBuilderForAddress(endpoint.getHost(), endpoint.getPort(), connection.credentials()).build();
    try {
      Sign example = new Sign(connection, channel, args.length > 0 ? args[0] : "keyRings/dev/keys/example");
      example.sign();
      example.signJwt();
      example.stream();
      example.beDenied();
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private void sign() throws Exception {
    byte[] message = bytes("pay 5 to Ada");
    SignResponse signed = service().sign(request(key, message));
    check(signed, message);
    System.out.printf("signed and verified with %s, record %d%n", signed.getName(), signed.getRecordIndex());
  }

  private void signJwt() throws Exception {
    JWTClaimsSet claims =
        new JWTClaimsSet.Builder().issuer("https://billing.example").subject("ada").audience("https://ledger.example").build();
    String token =
        service()
            .signJwt(
                SignJwtRequest.newBuilder()
                    .setName(key)
                    .setClaims(claims.toString())
                    .setLifetime(Duration.newBuilder().setSeconds(300))
                    .build())
            .getToken();

    // What the receiver of the token does. It fetches the keys once in a while, not for each token.
    HttpClient http = HttpClient.newBuilder().sslContext(connection.sslContext()).build();
    URI address =
        connection.endpoint().resolve("/.well-known/jwks.json?name=" + URLEncoder.encode(key, StandardCharsets.UTF_8));
    HttpResponse<String> jwks = http.send(HttpRequest.newBuilder(address).build(), HttpResponse.BodyHandlers.ofString());
    require(jwks.statusCode() == 200, "no JWKS: status " + jwks.statusCode());
    DefaultJWTProcessor<?> processor = new DefaultJWTProcessor<>();
    processor.setJWSKeySelector(
        new JWSVerificationKeySelector<>(JWSAlgorithm.ES256, new ImmutableJWKSet<>(JWKSet.parse(jwks.body()))));
    processor.setJWTClaimsSetVerifier(
        new DefaultJWTClaimsVerifier<>(
            "https://ledger.example",
            new JWTClaimsSet.Builder().issuer("https://billing.example").build(),
            Set.of("sub", "iat", "exp")));
    System.out.printf("JWT of %s verified through JWKS%n", processor.process(token, null).getSubject());
  }

  private void stream() throws Exception {
    Map<String, byte[]> messages =
        IntStream.range(0, 5).boxed().collect(Collectors.toMap(n -> "invoice-" + n, n -> bytes("pay " + n + " to Ada")));
    Map<String, SignResponse> answers = new ConcurrentHashMap<>();
    CompletableFuture<Void> ended = new CompletableFuture<>();
    StreamObserver<StreamSignRequest> requests =
        async
            .withDeadlineAfter(10, TimeUnit.SECONDS)
            .streamSign(
                new StreamObserver<>() {
                  @Override
                  public void onNext(StreamSignResponse answer) {
                    // In any order. One that failed does not end the stream.
                    if (answer.hasResponse()) {
                      answers.put(answer.getCorrelationId(), answer.getResponse());
                    } else {
                      System.err.printf("%s: %s%n", answer.getCorrelationId(), answer.getError().getMessage());
                    }
                  }

                  @Override
                  public void onError(Throwable error) {
                    ended.completeExceptionally(error);
                  }

                  @Override
                  public void onCompleted() {
                    ended.complete(null);
                  }
                });
    messages.forEach(
        (number, message) ->
            requests.onNext(
                StreamSignRequest.newBuilder().setCorrelationId(number).setRequest(request(key, message)).build()));
    requests.onCompleted();
    ended.get();
    require(answers.keySet().equals(messages.keySet()), "not all were signed");
    for (var answer : answers.entrySet()) {
      check(answer.getValue(), messages.get(answer.getKey()));
    }
    System.out.printf("streamed %d signatures%n", answers.size());
  }

  private void beDenied() throws Exception {
    try {
      service().sign(request("keyRings/dev/keys/not-mine", bytes("pay 5 to Eve")));
    } catch (StatusRuntimeException error) {
      Status status = StatusProto.fromThrowable(error);
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          // Decide by the reason, which is stable; the message is for people.
          require(info.getDomain().equals("chancery") && info.getReason().equals("ACCESS_DENIED"), info.toString());
          System.out.printf("denied as it should be: %s, %s%n", error.getStatus().getCode(), info.getReason());
          return;
        }
      }
      throw error;
    }
    throw new IllegalStateException("the call was not denied");
  }

  /** Checks that an answer is whole, and its signature by Java's own library. */
  private void check(SignResponse signed, byte[] message) throws Exception {
    byte[] signature = signed.getSignature().toByteArray();
    require(signed.getVerifiedInputCrc32C() && crc32c(signature) == signed.getSignatureCrc32C(), "damaged; call again");
    // The version that signed: after a rotation the key's name means another one.
    PublicKey answer =
        service()
            .getPublicKey(
                GetPublicKeyRequest.newBuilder()
                    .setName(signed.getName())
                    .setFormat(PublicKeyFormat.PUBLIC_KEY_FORMAT_DER)
                    .build());
    byte[] spki = answer.getData().toByteArray();
    require(crc32c(spki) == answer.getDataCrc32C(), "damaged; call again");
    Signature verifier = Signature.getInstance("SHA256withECDSA");
    verifier.initVerify(KeyFactory.getInstance("EC").generatePublic(new X509EncodedKeySpec(spki)));
    verifier.update(message);
    require(verifier.verify(signature), "the signature of " + signed.getName() + " is not valid");
  }

  /** With a deadline, which is told to the service: it stops working on what nobody waits for. */
  private SigningServiceBlockingStub service() {
    return blocking.withDeadlineAfter(10, TimeUnit.SECONDS);
  }

  private static SignRequest request(String key, byte[] message) {
    SignInput input = SignInput.newBuilder().setMessage(ByteString.copyFrom(message)).setCrc32C(crc32c(message)).build();
    return SignRequest.newBuilder().setName(key).setInput(input).build();
  }

  private static int crc32c(byte[] bytes) {
    CRC32C crc = new CRC32C();
    crc.update(bytes);
    return (int) crc.getValue(); // Java has no unsigned 32 bits; protobuf neither
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static void require(boolean condition, String otherwise) {
    if (!condition) {
      throw new IllegalStateException(otherwise);
    }
  }
}
