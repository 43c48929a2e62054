package localfhir;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.interceptor.UserRequestRetryVersionConflictsInterceptor;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.ETagSupportEnum;
import ca.uhn.fhir.rest.server.HardcodedServerAddressStrategy;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.RequestValidatingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ca.uhn.fhir.validation.IValidatorModule;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import java.nio.file.Files;
import java.util.List;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/** Starts the server on 127.0.0.1 and prints one READY line. Stop it with SIGTERM. */
public final class Main {

	public static void main(String[] args) {
		try {
			run();
		} catch (Throwable fault) {
			// Spring's and Tomcat's threads would keep a half-started process alive, and its parent waiting.
			fault.printStackTrace();
			Runtime.getRuntime().halt(1);
		}
	}

	private static void run() throws Exception {
		long begun = System.nanoTime();
		AnnotationConfigApplicationContext spring = new AnnotationConfigApplicationContext(StorageConfig.class);
		Options options = spring.getBean(Options.class);

		Tomcat tomcat = new Tomcat();
		tomcat.setBaseDir(Files.createTempDirectory("localfhir").toString());
		Connector http = new Connector();
		http.setProperty("address", "127.0.0.1");
		http.setPort(options.port);
		http.setThrowOnFailure(true); // a port that is taken ends the process instead of printing READY
		http.setProperty("relaxedQueryChars", "|"); // clients that do not escape system|code
		tomcat.setConnector(http);
		Context web = tomcat.addContext("", null);
		if (!options.token.isEmpty()) {
			BearerCheck.install(web, options);
		}
		Tomcat.addServlet(web, "fhir", fhirServlet(spring, options)).setLoadOnStartup(1);
		web.addServletMappingDecoded("/fhir/*", "fhir");
		tomcat.start();

		Runtime.getRuntime().addShutdownHook(new Thread(() -> {
			try {
				tomcat.stop();
			} catch (Exception ignored) {
				// going down anyway
			}
			spring.close();
		}));
		System.out.printf("READY %s after %.1f s%n", options.base(), (System.nanoTime() - begun) / 1e9);
		System.out.flush();
		tomcat.getServer().await();
	}

	private static RestfulServer fhirServlet(AnnotationConfigApplicationContext spring, Options options) {
		FhirContext fhir = spring.getBean(FhirContext.class);
		IFhirSystemDao<?, ?> systemDao = spring.getBean(IFhirSystemDao.class);

		RestfulServer server = new RestfulServer(fhir);
		spring.getAutowireCapableBeanFactory().autowireBean(server);
		server.registerProviders(spring.getBean(ResourceProviderFactory.class).createProviders());
		server.registerProvider(spring.getBean(IJpaSystemProvider.class));
		server.setPagingProvider(spring.getBean(DatabaseBackedPagingProvider.class));
		server.setServerAddressStrategy(new HardcodedServerAddressStrategy(options.base()));
		server.setDefaultResponseEncoding(EncodingEnum.JSON);
		server.setETagSupport(options.etag ? ETagSupportEnum.ENABLED : ETagSupportEnum.DISABLED);

		IValidationSupport support = spring.getBean(IValidationSupport.class); // the primary one of several
		JpaCapabilityStatementProvider capability = new JpaCapabilityStatementProvider(
			server, systemDao, spring.getBean(JpaStorageSettings.class), spring.getBean(ISearchParamRegistry.class), support);
		capability.setImplementationDescription("HAPI for the tests of Baton");
		server.setServerConformanceProvider(capability);

		if (options.validateRequests) {
			RequestValidatingInterceptor validator = new RequestValidatingInterceptor();
			validator.setFailOnSeverity(ResultSeverityEnum.ERROR);
			validator.setValidatorModules(List.of(spring.getBean(IValidatorModule.class)));
			server.registerInterceptor(validator);
		}
		if (options.retryConflicts) {
			server.registerInterceptor(new UserRequestRetryVersionConflictsInterceptor());
		}
		return server;
	}
}
