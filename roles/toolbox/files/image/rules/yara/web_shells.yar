// Web shells by what they do: run what a visitor sends.

rule Web_Shell_PHP_Runs_Input
{
    meta:
        description = "PHP that runs what a visitor sends"
        severity = "high"
    strings:
        $php = "<?"
        $run = /\b(eval|assert|system|exec|passthru|shell_exec|popen|proc_open|create_function)\s*\(\s*(@?\s*(base64_decode|gzinflate|gzuncompress|str_rot13|hex2bin|strrev)\s*\(\s*){0,4}[^;()]{0,60}\$_(GET|POST|REQUEST|COOKIE|SERVER)\b/ nocase
        $call = /\$_(GET|POST|REQUEST|COOKIE)\s*\[[^\]]{1,40}\]\s*\(/ nocase
        $back = /`[^`\n]{0,100}\$_(GET|POST|REQUEST|COOKIE)\b/ nocase
    condition:
        filesize < 1MB and $php in (0..4096) and any of ($run, $call, $back)
}

rule Web_Shell_PHP_Runs_Encoded
{
    meta:
        description = "PHP that runs decoded text"
        severity = "high"
    strings:
        $php = "<?"
        $run = /\b(eval|assert|create_function)\s*\(\s*(@?\s*(base64_decode|gzinflate|gzuncompress|str_rot13|hex2bin|strrev)\s*\(\s*){1,5}/ nocase
    condition:
        filesize < 1MB and $php in (0..4096) and $run
}

rule Web_Shell_JSP_Runs_Input
{
    meta:
        description = "JSP that runs what a visitor sends"
        severity = "high"
    strings:
        $jsp = "<%"
        $run = /(getRuntime\(\)\s*\.\s*exec|new\s+ProcessBuilder)\s*\(/
        $input = "request.getParameter"
    condition:
        filesize < 1MB and all of them
}

rule Web_Shell_Known_Names
{
    meta:
        description = "The name of a well-known web shell next to the function that such shells need"
        severity = "critical"
    strings:
        $name1 = "FilesMan" fullword
        $name2 = "c99shell" nocase
        $name3 = "r57shell" nocase
        $name4 = "b374k" nocase
        $name5 = "WSO " fullword
        $name6 = "AntSword" nocase
        $run = /\b(eval|assert|system|exec|passthru|shell_exec)\s*\(/
        $php = "<?"
    condition:
        filesize < 2MB and $php in (0..4096) and $run and 1 of ($name*)
}
