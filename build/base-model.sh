#!/usr/bin/env bash
# Makes the embedded base model anew from images it draws itself, into src/Microsoft.ML.Mobius/Models/Base (about an hour and a half on 2 cores).
#
#   build/base-model.sh [FOLDER] [--fraction 1.0]
#
# Only who changes the base model needs this: its files are part of the repository.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

folder=$root/src/Microsoft.ML.Mobius/Models/Base
if [[ $# -gt 0 && $1 != --* ]]; then
    folder=$1
    shift
fi
need_dotnet
build build/BaseModel/Microsoft.ML.Mobius.BaseModel.csproj
exec dotnet "$root/build/BaseModel/bin/Release/net10.0/Microsoft.ML.Mobius.BaseModel.dll" "$folder" "$@"
