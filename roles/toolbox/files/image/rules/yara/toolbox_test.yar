rule DFIR_Toolbox_Test_Signature
{
    meta:
        description = "The harmless string with which the toolbox proves that its scanner works"
        severity = "info"
    strings:
        $marker = "DFIR-TOOLBOX-TEST-SIGNATURE-7f1d0a52"
    condition:
        $marker
}
