package example;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.grpc.util.AdvancedTlsX509KeyManager;
import io.grpc.util.AdvancedTlsX509TrustManager;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;

/** How to reach the service, and as whom: PEM files. */
record Connection(URI endpoint, File ca, File cert, File key) {

  /**
   * Takes the folder of a running {@code chancery dev} from CHANCERY_DEV, or else CHANCERY_ENDPOINT, CHANCERY_CA,
   * CHANCERY_CERT and CHANCERY_KEY.
   */
  static Connection fromEnvironment() throws IOException {
    String folder = System.getenv("CHANCERY_DEV");
    if (folder == null) {
      return new Connection(
          URI.create(variable("ENDPOINT")), new File(variable("CA")), new File(variable("CERT")), new File(variable("KEY")));
    }
    JsonObject dev = JsonParser.parseString(Files.readString(Path.of(folder, "dev.json"))).getAsJsonObject();
    JsonObject caller = dev.getAsJsonObject("caller");
    return new Connection(
        URI.create(dev.get("endpoint").getAsString()),
        new File(dev.get("ca").getAsString()),
        new File(caller.get("cert").getAsString()),
        new File(caller.get("key").getAsString()));
  }

  private static String variable(String name) {
    String value = System.getenv("CHANCERY_" + name);
    if (value == null) {
      throw new IllegalStateException("set CHANCERY_DEV, or CHANCERY_" + name + "; see README.md");
    }
    return value;
  }

  /** For gRPC. */
  ChannelCredentials credentials() throws GeneralSecurityException, IOException {
    return TlsChannelCredentials.newBuilder().keyManager(keyManagers()).trustManager(trustManagers()).build();
  }

  /** For {@link java.net.http.HttpClient}. */
  SSLContext sslContext() throws GeneralSecurityException, IOException {
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keyManagers(), trustManagers(), null);
    return context;
  }

  private KeyManager[] keyManagers() throws GeneralSecurityException, IOException {
    AdvancedTlsX509KeyManager manager = new AdvancedTlsX509KeyManager();
    manager.updateIdentityCredentials(cert, key);
    return new KeyManager[] {manager};
  }

  private TrustManager[] trustManagers() throws GeneralSecurityException, IOException {
    AdvancedTlsX509TrustManager manager = AdvancedTlsX509TrustManager.newBuilder().build();
    manager.updateTrustCredentials(ca);
    return new TrustManager[] {manager};
  }
}
