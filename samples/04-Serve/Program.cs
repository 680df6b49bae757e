// A web page that makes videos from prompts: http://localhost:5000 by default.
// Run: dotnet run -c Release --project samples/04-Serve -- --Serve:Model out/model.zip
// Without a model it takes the untrained start. All settings, with their defaults, are those of appsettings.json beside the program; each may
// be given as an option, as --Serve:QueueLength 20 or --urls http://0.0.0.0:8080, or as an environment variable, as Serve__QueueLength.
using Microsoft.ML.Mobius.Samples.Serve;

try
{
    await using var app = VideoServer.Build(args);
    await app.RunAsync();
    return 0;
}
catch (Exception e) when (e is ArgumentException or IOException or InvalidDataException or InvalidOperationException)
{
    Console.Error.WriteLine($"Failed: {e.Message}");
    return 1;
}
