Console.Error.WriteLine("usage: --out FOLDER");
return 1;
